"""Weights on disk: what there is, where it lies, that it is what it should be."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pytest
from file_server import Answer, serving

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.weights.catalogue import (
    Catalogue,
    WeightFile,
    catalogue,
    megabytes,
    read_catalogue,
)
from FewShotSAMLib.weights.downloads import Patience
from FewShotSAMLib.weights.folder import weights_place
from FewShotSAMLib.weights.store import WeightStore, record_file, weights_file

CONTENT = b"the weights of a network" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=2, first_wait=0.01, timeout=20.0)


def entry(name="tiny", url="", **changes) -> WeightFile:
    known = WeightFile(
        name=name, kind="features", file=f"{name} net.pth", url=url, size=len(CONTENT),
        about_size=None, sha256=SHA256, licence="Apache-2.0", source="https://example.org/tiny",
        purpose="tests",
    )  # fmt: skip
    return dataclasses.replace(known, **changes)


@pytest.fixture
def told():
    return []


@pytest.fixture
def make_store(tmp_path, told):
    def make(*entries: WeightFile) -> WeightStore:
        known = Catalogue({e.name: e for e in entries}, {})
        return WeightStore(tmp_path / "Gewichte für Ärzte", known, told.append)

    return make


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as running:
        yield running


def put(store: WeightStore, name="tiny", content=CONTENT) -> Path:
    path = store.path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def complaint(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as problem:
        function(*arguments, **options)
    assert "\n" not in str(problem.value)
    return str(problem.value)


# The catalogue


def test_every_preset_is_made_of_weights_there_are():
    known = catalogue()
    assert list(known.presets) == ["embedded", "fast", "balanced", "best", "fob"]
    kinds = {name: {known.weights[part].kind for part in preset.weights}
             for name, preset in known.presets.items()}  # fmt: skip
    assert kinds["embedded"] == set()
    assert kinds["fast"] == kinds["balanced"] == kinds["best"] == {"promptable", "features"}
    assert kinds["fob"] == {"promptable", "prompts"}
    assert [e.name for e in known.needed("fast")] == ["sam2.1-tiny", "dinov2-small"]


def test_every_weight_file_can_be_had_and_checked():
    known = catalogue()
    assert len({e.file for e in known.weights.values()}) == len(known.weights)
    for e in known.weights.values():
        assert e.url.startswith("https://") or e.name == "sinder-giant"
        assert e.source.startswith("https://") and e.purpose and e.licence_text
        assert len(e.sha256) in (0, 64) and e.sha256 == e.sha256.lower()
        assert (e.size is None) == (e.about_size is not None)
        assert e.file == Path(e.file).name


def test_sizes_known_from_the_number_of_values():
    about = catalogue().weight_file("dinov2-base-registers")
    assert about.size_text == "about 346 MB"
    assert catalogue().weight_file("sam-vit-h").size_text == "2.6 GB"
    assert megabytes(8_120_000) == "8.1 MB" and megabytes(999) == "999 bytes"


def test_unknown_names_list_the_known_ones():
    said = complaint(catalogue().needed, "sam3")
    assert "sam3" in said and "balanced" in said and "sam2.1-tiny" in said
    assert "dinov2-large" in complaint(catalogue().weight_file, "fast")
    assert "sam-vit-b" in complaint(weights_file, "nothing")


def test_a_catalogue_that_is_none(tmp_path):
    path = tmp_path / "catalogue.json"
    path.write_text('{"bases": {}, "weights": [{"name": "a"}], "presets": []}', encoding="utf-8")
    assert "catalogue.json" in complaint(read_catalogue, path)


# The folder


def place(platform="linux", **variables):
    home = Path("home of somebody").absolute()
    return weights_place(variables, platform, home), home


def test_folders_follow_the_conventions_of_each_system(tmp_path):
    found, home = place()
    assert found.folder == home / ".cache/fewshotsam/weights"
    assert found.settings == home / ".config/fewshotsam/settings.json"
    found, home = place("darwin")
    assert found.folder == home / "Library/Caches/fewshotsam/weights"
    found, home = place("win32")
    assert found.folder == home / "AppData/Local/fewshotsam/weights"
    found, _ = place("win32", LOCALAPPDATA=str(tmp_path))
    assert found.folder == tmp_path / "fewshotsam/weights"
    found, home = place(XDG_CACHE_HOME=str(tmp_path), XDG_CONFIG_HOME="relative")
    assert found.folder == tmp_path / "fewshotsam/weights"
    assert found.settings.is_relative_to(home)


def test_a_variable_and_a_setting_move_the_folder_and_the_variable_wins(tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text(
        json.dumps({"weights": "Gewichte für Ärzte", "mirror": "https://mirror.example/w"}),
        encoding="utf-8",
    )
    found, _ = place(FEWSHOTSAM_SETTINGS=str(settings))
    assert found.folder == tmp_path / "Gewichte für Ärzte"
    assert found.mirror == "https://mirror.example/w" and found.reason == str(settings)
    found, _ = place(
        FEWSHOTSAM_SETTINGS=str(settings),
        FEWSHOTSAM_WEIGHTS=str(tmp_path / "other"),
        FEWSHOTSAM_MIRROR="http://other",
    )
    assert found.folder == tmp_path / "other" and found.mirror == "http://other"
    assert found.reason == "FEWSHOTSAM_WEIGHTS"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "JSON"), ("[]", "object"), ('{"weights": 3}', "texts"), ('{"mirrors": "x"}', "mirrors")],
)
def test_settings_that_cannot_be_understood(tmp_path, text, reason):
    settings = tmp_path / "settings.json"
    settings.write_text(text, encoding="utf-8")
    said = complaint(place, FEWSHOTSAM_SETTINGS=str(settings))
    assert str(settings) in said and reason in said


# Files


def test_a_missing_file_says_how_to_get_it(make_store):
    store = make_store(entry(url="https://x/y"), entry("own"))
    said = complaint(store.find, "tiny")
    assert "models download tiny" in said and "24 kB" in said and "Apache-2.0" in said
    assert "--from-file" not in said
    assert "models download own --from-file" in complaint(store.find, "own")


def test_a_file_that_somebody_put_there_is_found_and_its_hash_is_kept(make_store, told):
    store = make_store(entry())
    path = put(store)
    found = store.find("tiny")
    assert (found.path, found.sha256) == (path, SHA256)
    assert json.loads(record_file(path).read_text(encoding="utf-8"))["sha256"] == SHA256
    assert told == []


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_a_file_that_changed_is_not_used(make_store, sha256):
    store = make_store(entry(sha256=sha256))
    path = put(store)
    store.find("tiny")
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(1, 1))  # so that no clock is too coarse to see it
    for _ in range(2):
        said = complaint(store.find, "tiny")
        assert SHA256 in said and hashlib.sha256(CONTENT[::-1]).hexdigest() in said
    path.write_bytes(CONTENT)
    assert store.find("tiny").sha256 == SHA256


def test_a_damage_that_keeps_the_time_is_found_when_asked(make_store):
    store = make_store(entry())
    path = put(store)
    store.find("tiny")
    before = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    store.find("tiny")
    assert "damaged" in complaint(store.find, "tiny", recheck=True)


def test_a_record_of_another_file_does_not_count(make_store):
    store = make_store(entry())
    path = put(store, content=CONTENT[::-1])
    stat = path.stat()
    record = {"sha256": "0" * 64, "bytes": stat.st_size, "changed_ns": stat.st_mtime_ns}
    record_file(path).write_text(json.dumps(record), encoding="utf-8")
    assert "expected is " + SHA256 in complaint(store.find, "tiny")


def test_a_hash_that_nobody_published_is_told_once_and_kept(make_store, told):
    store = make_store(entry(sha256=""))
    path = put(store)
    assert store.find("tiny").sha256 == store.find("tiny").sha256 == SHA256
    assert len(told) == 1 and SHA256 in told[0] and "never published" in told[0]
    assert record_file(path).is_file()


def test_a_local_copy_is_checked_and_taken(make_store, tmp_path):
    store = make_store(entry(), entry("second"))
    source = tmp_path / "from a USB stick.bin"
    source.write_bytes(CONTENT)
    assert store.install("tiny", source).path.read_bytes() == CONTENT
    assert source.is_file()
    (tmp_path / "second net.pth").write_bytes(CONTENT)
    assert store.install("second", tmp_path).sha256 == SHA256  # a folder
    assert store.install("tiny", store.path("tiny")).sha256 == SHA256  # itself
    assert {p.name for p in store.folder.iterdir()} == {
        "tiny net.pth", "tiny net.pth.json", "second net.pth", "second net.pth.json",
    }  # fmt: skip


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[::-1]])
def test_another_local_file_is_refused_and_what_is_there_stays(make_store, tmp_path, content):
    store = make_store(entry())
    put(store)
    source = tmp_path / "other.pth"
    source.write_bytes(content)
    said = complaint(store.install, "tiny", source)
    assert "other.pth" in said and "expected" in said
    assert store.path("tiny").read_bytes() == CONTENT
    assert [p.name for p in store.folder.iterdir()] == ["tiny net.pth"]
    assert "no such file" in complaint(store.install, "tiny", tmp_path / "nowhere")


def test_a_download_is_found_afterwards(make_store, server):
    server.files["/tiny net.pth".replace(" ", "%20")] = CONTENT
    store = make_store(entry(url=server.url + "/tiny%20net.pth"))
    found = store.download("tiny", patience=QUICK)
    assert found == store.find("tiny") and found.path.read_bytes() == CONTENT


def test_a_mirror_serves_files_by_their_names(make_store, server):
    server.files["/mirror/net.pth"] = CONTENT
    store = make_store(entry(file="net.pth"), entry("own", file="net.pth", url=""))
    store.download("tiny", mirror=server.url + "/mirror/", patience=QUICK)
    assert store.is_present("tiny")
    assert "no public address" in complaint(store.download, "own")


def test_a_failed_download_names_address_hash_and_the_way_by_hand(make_store, server):
    url = server.url + "/nowhere"
    said = complaint(make_store(entry(url=url)).download, "tiny", patience=QUICK)
    assert "404" in said and url in said and SHA256 in said
    assert "models download tiny --from-file" in said


def test_a_download_without_a_published_hash_says_so(make_store, server, told):
    server.files["/net"] = CONTENT
    server.answers = [Answer(stop_after=5000)]
    store = make_store(entry(url=server.url + "/net", size=None, about_size=1, sha256=""))
    assert store.download("tiny", patience=QUICK).sha256 == SHA256
    assert "never published" in told[-1]
    put(store, content=CONTENT[::-1])  # damaged later: the first hash is what counts
    assert SHA256 in complaint(store.find, "tiny")
    assert store.download("tiny", patience=QUICK).path.read_bytes() == CONTENT


def test_removing_takes_all_that_belongs_to_a_file(make_store, server):
    store = make_store(entry(url=server.url + "/net"))
    put(store)
    store.find("tiny")
    assert store.remove("tiny") > len(CONTENT)
    server.files["/net"] = CONTENT
    server.answers = [Answer(stop_after=1000)] * 2
    complaint(store.download, "tiny", patience=QUICK)
    assert any(p.name.endswith(".partial") for p in store.folder.iterdir())
    assert store.remove("tiny") > 1000
    assert [p for p in store.folder.iterdir() if p.suffix != ".lock"] == []
    assert store.remove("tiny") == 0
