"""Units from more than one sign: air, soft tissue and their shares, not a tag nor the extremes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from written_dicom import write_slices

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.hounsfield import detect_modality, holds_hounsfield_units
from FewShotSAMLib.data.intensity import intensity_range
from FewShotSAMLib.data.reading import read_volume
from FewShotSAMLib.data.volume import Volume


def ct(seed: int = 0, shape=(10, 64, 64)) -> np.ndarray:
    """Hounsfield units of a round body with fat, organs, some bone and air outside."""
    rng = np.random.default_rng(seed)
    _, y, x = np.indices(shape)
    radius = np.hypot((y - shape[1] / 2) / 22, (x - shape[2] / 2) / 28)
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    values = np.where(radius < 1, 45 + 300 * texture, -1000)
    values = np.where((radius < 1) & (radius > 0.85), -100, values)
    values = np.where(np.hypot(y - 40, x - 32) < 3, 500, values)
    return np.rint(values + rng.normal(0, 8, shape)).astype(np.int32)


def with_metal(values: np.ndarray, share: float, height: int = 30000) -> np.ndarray:
    """A block of metal inside of the body."""
    count = round(share * values.size)
    side = int(np.ceil((count / len(values)) ** 0.5))
    changed = values.copy()
    inside = np.zeros(values.shape, bool)
    inside[:, 24 : 24 + side, 24 : 24 + side] = True
    changed[np.unravel_index(np.flatnonzero(inside)[:count], values.shape)] = height
    return changed


NO_UNITS = {
    "stored, without intercept": lambda v: np.clip(v + 1024, 0, None),
    "stored, from 0 to 2300": lambda v: np.clip((v + 1024) * 2300 // (v.max() + 1024), 0, None),
    "some below 0 by a filter": lambda v: v + 1024 - 30,
    "bytes": lambda v: np.clip((v + 200) * 0.4, 0, 255).astype(np.uint8),
    "0 to 1": lambda v: np.clip((v + 200) / 500, 0, 1).astype(np.float32),
    "z-scored": lambda v: ((v - v.mean()) / v.std()).astype(np.float32),
    "micro-CT, 16 bits": lambda v: np.clip((v + 1024) * 20, 0, 65535).astype(np.uint16),
    "micro-CT, signed": lambda v: (v * 20 - 8000).astype(np.int16),
}
UNITS = {
    "whole": lambda v: v,
    "cropped in the body": lambda v: v[:, 20:44, 18:46],
    "an organ without fat": lambda v: np.clip(v[:, 26:36, 26:38], -20, 180),
    "decimals": lambda v: v.astype(np.float32) + 0.25,
    "padding": lambda v: np.where(np.indices(v.shape)[2] < 4, -3024, v),
    "metal": lambda v: with_metal(v, 0.012),
}


@pytest.mark.parametrize("how", NO_UNITS)
def test_a_tag_alone_makes_no_hounsfield_units(tmp_path, how):
    values = NO_UNITS[how](ct())
    assert not holds_hounsfield_units(values)
    if values.dtype.kind != "f" and values.max() <= 32767:
        write_slices(tmp_path, Volume(values, modality="CT"))
        read = read_volume(tmp_path)
        assert read.modality == "other"
        assert "are no Hounsfield units; it is shown by percentiles" in read.notes[-1]
        assert read_volume(tmp_path, modality="CT").modality == "CT"


@pytest.mark.parametrize("how", UNITS)
def test_hounsfield_units_with_a_tag(how):
    assert holds_hounsfield_units(UNITS[how](ct()))


@pytest.mark.parametrize("share", [0.001, 0.004, 0.008, 0.012])
@pytest.mark.parametrize("height", [3071, 8000, 30000])
def test_metal_does_not_hide_a_ct_without_a_tag(share, height):
    assert detect_modality(with_metal(ct(), share, height)) == "CT"


@pytest.mark.parametrize("share", [0.001, 0.004, 0.012])
def test_metal_does_not_pull_the_percentiles(share):
    values = with_metal(np.clip(ct() + 1024, 0, None), share)
    shown = intensity_range(Volume(values, modality="other"))
    assert shown.high < 3000
    tissue = (1069 - shown.low) / (shown.high - shown.low)
    assert 0.2 < tissue < 0.98


@pytest.mark.parametrize(("window", "what"), [((500, 900), "black"), ((-9000, -3000), "white")])
def test_a_range_that_shows_nothing_is_named(window, what):
    volume = Volume(np.clip(ct(), -1100, 300), modality="CT", name="ct.nrrd")
    with pytest.raises(InputError, match=rf"everything is {what} when .* is shown") as error:
        intensity_range(volume, window)
    assert f"{window[0]} to {window[1]}" in str(error.value)
