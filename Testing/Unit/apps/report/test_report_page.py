"""The pages in a real browser: nothing is asked of a network, and what can be clicked works."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from FewShotSAMLib.apps.batch.index_page import write_index
from FewShotSAMLib.apps.batch.records import Records
from FewShotSAMLib.apps.report.report import report_html, thumbnail
from FewShotSAMLib.apps.report.review_need import review_need
from FewShotSAMLib.data.volume import Segment, Volume
from FewShotSAMLib.models.card import ModelCard
from FewShotSAMLib.segmentation.results import SliceResult, VolumeResult

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge")
NAMES = {1: "liver", 2: "<b>spleen</b>", 3: "gall bladder"}


def result_of(count=40, side=64):
    """A volume of `count` slices with two structures found, one of them in doubt, and one not."""
    random = np.random.default_rng(0)
    image = Volume(random.integers(0, 900, (count, side, side), np.int16), (3, 3, 5), modality="MR",
                   name="scan", notes=("its slices are sheared",))  # fmt: skip
    labels = np.zeros(image.shape, np.uint8)
    labels[:, 10:30, 10:30] = 1
    labels[count // 2 :, 40:50, 40:50] = 2
    slices = []
    for index in range(count):
        slices.append(SliceResult(index, 1, None, 0.95, True, 3600.0, "propagated"))
        there = index >= count // 2
        slices.append(SliceResult(index, 2, None, 0.4 if there else 0.1, there, 900.0 * there, "x"))
        slices.append(SliceResult(index, 3, None, 0.1, False, 0.0, "propagated"))
    segments = {v: Segment(name, (0.9, 0.2 * v, 0.1)) for v, name in NAMES.items()}
    drawn = replace(image, voxels=labels, segments=segments, modality="other", notes=())
    return image, VolumeResult(drawn, tuple(slices), NAMES, {"decode": 1.0}, ModelCard("m"), "cpu",
                               "axial", "synpo", "propagate")  # fmt: skip


def test_what_needs_a_look():
    _, result = result_of(8)
    needs = [review_need(result, label) for label in NAMES]
    assert [need.state for need in needs] == ["found", "doubtful", "not found"]
    assert needs[1].look_at == (4, 5, 6, 7) and needs[0].look_at == ()
    assert sorted(needs, key=lambda need: need.order)[0].state == "not found"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    with playwright.sync_playwright() as running:
        try:  # without a program it is the one that playwright brings, where that was fetched
            one = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except playwright.Error as problem:
            if program is not None:
                raise
            pytest.skip(f"needs one of {', '.join(BROWSERS)}: {str(problem).splitlines()[0]}")
        yield one
        one.close()


@pytest.fixture
def opened(browser):
    """Opens a file; what the console says and what is asked of anything else must be nothing."""
    page, complaints = browser.new_page(viewport={"width": 1200, "height": 900}), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def asked(request):
        if not request.url.startswith(("file:", "data:")):
            complaints.append(request.url)

    page.on("request", asked)

    def open_page(path):
        began = time.perf_counter()
        page.goto(path.as_uri(), wait_until="load")
        page.took = time.perf_counter() - began
        return page

    yield open_page
    assert complaints == []
    page.close()


def test_report(opened, tmp_path):
    image, result = result_of()
    path = tmp_path / "report.html"
    path.write_text(report_html(image, result), encoding="utf-8")
    page = opened(path)
    assert page.locator(".warn").all_inner_texts() == [
        "Not found: gall bladder.", "Doubtful: <b>spleen</b> (confidence 0.40).",
        "Its slices are sheared.",
    ]  # fmt: skip
    tiles = page.locator("#montage button")
    assert tiles.count() == 40
    page.check("#doubtful")
    assert tiles.locator("visible=true").count() == 20
    first = tiles.locator("visible=true").first
    first.click()
    assert page.locator("dialog p").inner_text() == "slice 20, in doubt: <b>spleen</b>"
    page.keyboard.press("ArrowRight")
    assert "slice 21" in page.locator("dialog p").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    page.wait_for_function(
        "[...document.querySelectorAll('#montage img[src]')].filter(i => i.naturalWidth == 300)"
        ".length >= 10"
    )
    page.locator("rect[data-slice='25']").nth(1).click()
    assert "slice 25" in page.locator("dialog p").inner_text()


def test_printed_report_has_every_slice_and_no_controls(opened, tmp_path):
    image, result = result_of()
    path = tmp_path / "report.html"
    path.write_text(report_html(image, result), encoding="utf-8")
    page = opened(path)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#montage img[src]").count() == 40
    assert not page.locator("#doubtful").is_visible()
    assert page.locator("#montage button").locator("visible=true").count() == 40


def test_500_slices_open_at_once(opened, tmp_path):
    image, result = result_of(500)
    path = tmp_path / "report.html"
    path.write_text(report_html(image, result), encoding="utf-8")
    page = opened(path)
    assert page.locator("#montage button").count() == 500
    print(f"500 slices, {path.stat().st_size / 1e6:.1f} MB, opened in {page.took:.2f} s")
    assert page.took < 20  # a busy machine; see the printed figure


def record(number, status="done", state="found", picture=""):
    return {
        "study": f"patient {number:03d} ü", "status": status,
        "error": "unreadable" if status == "failed" else "",
        "seconds": 2.0, "run": "0" * 64, "key": "", "picture": picture,
        "outputs": {".html": {"file": f"patient {number:03d} ü.html"}},
        "structures": [{"name": "liver", "state": state, "confidence": 0.5 + number / 1000,
                        "volume_ml": 12.0, "look_at": [3, 4]}] * (status == "done"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The page of a hundred studies, with pictures of noise, which pack badly."""
    records, picture = Records(tmp_path_factory.mktemp("index")), thumbnail(*result_of(4, 240))
    records.write(record(99, "failed"))
    for number in range(99):
        state = "doubtful" if number % 10 == 0 else "found"
        records.write(record(number, state=state, picture=picture))
    write_index(records)
    return records.folder / "index.html"


def test_index_of_100_studies(opened, index):
    page = opened(index)
    print(f"100 studies, {index.stat().st_size / 1e6:.1f} MB, opened in {page.took:.2f} s")
    assert page.took < 20  # a busy machine; see the printed figure
    rows = page.locator("#studies tbody tr")
    states = rows.locator("td:nth-child(2)").all_inner_texts()
    assert states == ["failed"] + ["doubtful"] * 10 + ["found"] * 89
    page.select_option("#which", "doubtful")
    assert rows.locator("visible=true").count() == 10
    page.fill("#text", "090")
    assert rows.locator("visible=true").count() == 1
    link = rows.locator("visible=true").locator("a").first.get_attribute("href")
    assert link == "patient%20090%20%C3%BC.html"


def test_printed_index_has_every_study_with_its_picture(opened, index):
    page = opened(index)
    assert page.pdf(format="A4").startswith(b"%PDF")
    seen = page.evaluate("[...document.images].filter(one => one.naturalWidth == 240).length")
    assert seen == 99
    page.emulate_media(media="print")
    assert not page.locator(".controls").is_visible()
    assert page.locator("#studies tbody tr").locator("visible=true").count() == 100
