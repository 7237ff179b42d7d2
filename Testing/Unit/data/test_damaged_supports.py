"""Support files travel between people: whatever is wrong in one is said in one line when it is
read, and what it tells of the patient is known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Volume

HOSTILE = Path(__file__).parents[4] / "shared" / "data" / "hostile"


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    rng = np.random.default_rng(0)
    image = Volume(
        rng.integers(0, 400, (6, 20, 20)).astype(np.int16), (2, 2, 4), name="DOE_JANE_1970.nii.gz"
    )
    mask = np.zeros(image.shape, np.uint8)
    mask[2, 5:12, 6:15] = 1
    labels = image.with_voxels(
        mask, name="DOE_JANE_mask.nii.gz", notes=("DOE_JANE_mask.nii.gz: soft edges are cut",)
    )
    image = replace(image, notes=("left out, since damaged: DOE/JANE.dcm",))
    path = tmp_path_factory.mktemp("kept") / "support.nrrd"
    Support.from_labels(image, labels).save(path)
    return path


def header_of(path: Path) -> dict:
    found = re.search(rb"FewShotSAM_support:=(.*)\n", path.read_bytes())
    return json.loads(found[1].replace(rb"\\", b"\\"))


def with_header(path: Path, header: str, to: Path) -> Path:
    content = path.read_bytes()
    found = re.search(rb"FewShotSAM_support:=(.*)\n", content)
    to.write_bytes(content[: found.start(1)] + header.encode() + content[found.end(1) :])
    return to


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The way to every entry of a header."""
    found = [path] if path else []
    parts = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    for key, part in parts:
        found += places(part, (*path, key))
    return found


def changed(header: dict, path: tuple, value: object) -> dict:
    new = json.loads(json.dumps(header))
    at = new
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return new


def test_a_support_without_lies_is_read_and_names_nobody(kept):
    support = Support.load(kept)
    assert support.volume.name == support.labels.name == ""
    assert b"DOE" not in kept.read_bytes() and b"JANE" not in kept.read_bytes()
    assert any("soft edges are cut" in note for note in support.notes)


def test_names_are_kept_on_request(kept, tmp_path):
    named = replace(Support.load(kept), volume=replace(Support.load(kept).volume, name="a.nii"))
    named.save(tmp_path / "s.nrrd", keep_name=True)
    assert Support.load(tmp_path / "s.nrrd").volume.name == "a.nii"


wrong = st.one_of(
    st.none(), st.booleans(), st.text(max_size=5), st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e308, -1, -0.5, 10**30, 0, {}]),
)  # fmt: skip


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data(), wrong)
def test_any_entry_may_be_wrong(kept, tmp_path, data, value):
    """Either the file is read as a support that works, or one line says that it is damaged."""
    header = header_of(kept)
    path = data.draw(st.sampled_from(places(header)))
    file = with_header(kept, json.dumps(changed(header, path, value)), tmp_path / "s.nrrd")
    try:
        support = Support.load(file)
    except InputError as error:
        assert "its support is damaged" in str(error) or "later FewShotSAM" in str(error)
        assert "\n" not in str(error)
        return
    assert np.isfinite(support.images()).all() and np.isfinite(support.standard_images()).all()
    for label in support.names:
        support.masks(label)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("[" * 100000, "nested too deeply"),
        ("{" * 10, "damaged"),
        ("[]", "no JSON object"),
        ('{"version": true}', "version"),
        ('{"version": 1e400}', "version"),
        ('{"version": 1, "axis": "axial"}', "lacks slices"),
    ],
)
def test_headers_that_are_none(kept, tmp_path, header, message):
    with pytest.raises(InputError, match=message) as error:
        Support.load(with_header(kept, header, tmp_path / "s.nrrd"))
    assert "its support is damaged" in str(error.value)


def test_an_overview_that_unpacks_to_gigabytes(kept, tmp_path):
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(bytes(1 << 26), 9)).decode()
    header = changed(header_of(kept), ("overview", "grey"), bomb)
    with pytest.raises(InputError, match="its support is damaged"):
        Support.load(with_header(kept, json.dumps(header), tmp_path / "s.nrrd"))


@pytest.mark.parametrize("path", sorted(HOSTILE.glob("07-support-json/bad-*.nrrd")))
def test_the_damaged_ones_that_were_found(path):
    with pytest.raises(InputError, match="its support is damaged"):
        Support.load(path)


def test_a_direction_that_is_none_is_damage_too(kept, tmp_path):
    header = changed(header_of(kept), ("image", "direction", 1, 1), 0)
    with pytest.raises(InputError, match="its support is damaged.*direction"):
        Support.load(with_header(kept, json.dumps(header), tmp_path / "s.nrrd"))
