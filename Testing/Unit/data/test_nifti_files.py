"""NIfTI files of every make: what can be read is, whatever their names say; the rest says why."""

from __future__ import annotations

import gzip
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_labels, read_volume
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.data.writing import write_volume


def grey(dtype=np.int16) -> np.ndarray:
    return np.arange(4 * 5 * 6).reshape(6, 5, 4).astype(dtype)


AFFINE = np.array([[0, -2.0, 0, 10], [2.0, 0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_compression_and_version_are_read_whatever_the_name(tmp_path, name, zipped, kind):
    content = kind(grey(), AFFINE).to_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if zipped else content)
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.voxels, grey().transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ AFFINE, atol=1e-5)
    assert volume.notes == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64, ">i2"])
def test_nifti_2_keeps_its_type(tmp_path, dtype):
    image = nibabel.Nifti2Image(grey(dtype), AFFINE)
    nibabel.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.voxels.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(volume.voxels, grey().transpose(2, 1, 0))


def test_nifti_2_labels_and_frames(tmp_path):
    labels = (grey() % 3).astype(np.uint8)
    nibabel.save(nibabel.Nifti2Image(labels, AFFINE), tmp_path / "m.nii")
    np.testing.assert_array_equal(
        read_labels(tmp_path / "m.nii").voxels, labels.transpose(2, 1, 0)
    )
    frames = np.stack((grey(), grey() + 1), axis=-1)
    nibabel.save(nibabel.Nifti2Image(frames, AFFINE), tmp_path / "t.nii")
    np.testing.assert_array_equal(
        read_volume(tmp_path / "t.nii", component=1).voxels, grey().transpose(2, 1, 0) + 1
    )


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("zipped", [False, True])
def test_files_cut_short_say_so(tmp_path, kind, zipped):
    rng = np.random.default_rng(0)
    content = kind(rng.integers(0, 9999, (20, 20, 20)).astype(np.int16), AFFINE).to_bytes()
    content = gzip.compress(content) if zipped else content
    path = tmp_path / ("a.nii.gz" if zipped else "a.nii")
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cut short"):
        read_volume(path)


def one_bit(path) -> None:
    """A mask of one bit a voxel, as FSL's ancestors wrote it."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((16, 8, 4))
    header["datatype"], header["bitpix"], header["vox_offset"] = 1, 1, 352
    header["magic"] = b"n+1\0"
    header.set_sform(AFFINE, 1)
    path.write_bytes(header.binaryblock + bytes(4) + bytes(16 * 8 * 4 // 8))


def test_one_bit_is_named(tmp_path):
    one_bit(tmp_path / "m.nii")
    with pytest.raises(InputError, match=r"have 1 bit, which is not read; save it with 8 bits"):
        read_labels(tmp_path / "m.nii")


def test_no_line_of_a_c_library_on_standard_error(tmp_path):
    """The C libraries write past Python, so a process of its own is listened to."""
    one_bit(tmp_path / "bit.nii")
    (tmp_path / "text.nii").write_bytes(b"no image at all, only text\n" * 40)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    (tmp_path / "cut.tif").write_bytes(b"II*\0\x08\0\0\0\xff\xff" + bytes(40))
    code = (
        "import pathlib, sys, FewShotSAMLib as fss\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        fss.read_volume(path)\n"
        "    except fss.InputError as error:\n        print(error)\n"
        "    else:\n        raise SystemExit(f'{path} was read')\n"
        "print('after', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, encoding="utf-8",
        timeout=120, check=True,
    )  # fmt: skip
    assert done.stderr.strip() == "after"
    assert len(done.stdout.splitlines()) == 5


def test_a_pair_of_header_and_voxels(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(grey(), AFFINE), tmp_path / "a.hdr")
    for name in ("a.hdr", "a.img"):
        np.testing.assert_array_equal(
            read_volume(tmp_path / name).voxels, grey().transpose(2, 1, 0)
        )
    (tmp_path / "a.hdr").unlink()
    with pytest.raises(InputError, match=r"its header a\.hdr is not there"):
        read_volume(tmp_path / "a.img")


def test_without_nibabel_one_line_names_it(tmp_path, monkeypatch):
    write_volume(Volume(grey()), tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti2Image(grey(), AFFINE), tmp_path / "2.nii")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(InputError, match="needs the package nibabel; install it with"):
        read_volume(tmp_path / "2.nii")
    assert read_volume(tmp_path / "a.nii.gz").size == Volume(grey()).size  # ITK reads it
