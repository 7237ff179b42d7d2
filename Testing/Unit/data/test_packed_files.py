"""Packed voxels: damage of every kind is seen, and whole files are unpacked once."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from FewShotSAMLib.data import packed_checksum
from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_volume
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.data.writing import write_volume

KINDS = (".nii.gz", ".nrrd", ".mha")
VOXELS = np.random.default_rng(0).integers(0, 90, (6, 40, 50)).astype(np.int16)


@pytest.fixture
def once(monkeypatch):
    """Nothing is unpacked but by the reader."""

    def refuse(*_):
        raise AssertionError("unpacked a second time")

    monkeypatch.setattr(packed_checksum, "check_stored", refuse)


def packed(folder: Path, kind: str, voxels: np.ndarray = VOXELS) -> Path:
    path = folder / f"scan{kind}"
    write_volume(Volume(voxels), path)
    return path


def start_of(content: bytes, kind: str) -> int:
    """Where the packed part of a file begins."""
    ends = {".nii.gz": b"", ".nrrd": b"\n\n", ".mha": b"ElementDataFile = LOCAL\n"}
    return content.index(ends[kind]) + len(ends[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", [np.uint8, np.int16, np.float64])
def test_a_whole_file_is_unpacked_once(tmp_path, once, kind, values):
    voxels = VOXELS.astype(values)
    assert np.array_equal(read_volume(packed(tmp_path, kind, voxels)).voxels, voxels)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_at_any_place_is_seen(tmp_path, kind):
    path = packed(tmp_path, kind)
    whole = path.read_bytes()
    start, choose = start_of(whole, kind), np.random.default_rng(1)
    places = {*range(start, start + 12), *range(len(whole) - 12, len(whole))}
    places |= set(choose.integers(start, len(whole), 60).tolist())
    refused = 0
    for place in sorted(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(choose.integers(8))
        path.write_bytes(damaged)
        try:
            found = read_volume(path).voxels
        except InputError:
            refused += 1
        else:  # the time in gzip's header, say
            assert np.array_equal(found, VOXELS), place
    assert refused > 60


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost", [1, 5, 9, 300, 4000])
def test_what_is_cut_short_is_seen(tmp_path, kind, lost):
    path = packed(tmp_path, kind)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(InputError, match="cut short"):
        read_volume(path)


def forged(content: bytes, length: int, window: int) -> bytes:
    """Packed bytes whose end says that they are so many and of the checksum of zeros after them."""
    content += bytes(length - len(content))
    part = zlib.compressobj(wbits=window)
    packed = part.compress(content[: length // 2]) + part.flush()
    if window == 15:
        return packed[:-4] + struct.pack(">I", zlib.adler32(content))
    return packed[:-8] + struct.pack("<II", zlib.crc32(content), length)


@pytest.mark.parametrize("kind", KINDS)
def test_a_forged_end_is_not_believed(tmp_path, kind):
    """Half the voxels, and the length and checksum of all: a reader may fill up with zeros."""
    path = packed(tmp_path, kind)
    whole = path.read_bytes()
    start = start_of(whole, kind)
    head, window = whole[:start], 15 if kind == ".mha" else 31
    content = zlib.decompress(whole[start:], wbits=47)
    path.write_bytes(head + forged(content[: len(content) // 2], len(content), window))
    with pytest.raises(InputError):
        read_volume(path)


def test_files_whose_checksum_is_of_other_bytes_are_read(tmp_path):
    """Swapped, scaled, in two parts, or with something behind: as right as they were."""
    swapped = nibabel.Nifti1Image(VOXELS.T, np.eye(4), nibabel.Nifti1Header(endianness=">"))
    nibabel.save(swapped, tmp_path / "swapped.nii.gz")
    scaled = nibabel.Nifti1Image(VOXELS.T, np.eye(4))
    scaled.header.set_slope_inter(0.5, 3)
    nibabel.save(scaled, tmp_path / "scaled.nii.gz")
    whole = packed(tmp_path, ".nii.gz").read_bytes()
    content = gzip.decompress(whole)
    for name, written in {
        "parts": gzip.compress(content[:9000]) + gzip.compress(content[9000:]),
        "behind": whole + b"not packed", "more": gzip.compress(content + bytes(99)),
    }.items():
        (tmp_path / f"{name}.nii.gz").write_bytes(written)
    for name in ("swapped", "parts", "behind", "more"):
        assert np.array_equal(read_volume(tmp_path / f"{name}.nii.gz").voxels, VOXELS), name
    found = read_volume(tmp_path / "scaled.nii.gz").voxels
    assert np.allclose(found, nibabel.load(tmp_path / "scaled.nii.gz").get_fdata().T)


def test_a_header_that_tells_of_gigabytes_is_checked_before_a_reader_makes_room(
    tmp_path, monkeypatch
):
    path = tmp_path / "zeros.nrrd"
    length = packed_checksum._AT_ONCE + (1 << 20)
    part = zlib.compressobj(1, zlib.DEFLATED, 31)
    few = part.compress(bytes(1 << 21)) + part.flush()
    header = (
        "NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: 1024 1024 {length >> 20}\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
        "kinds: domain domain domain\nencoding: gzip\nspace origin: (0,0,0)\n\n"
    )
    junk = np.random.default_rng(0).bytes(length // 1000)
    path.write_bytes(header.encode() + few + junk + struct.pack("<II", 0, length))
    monkeypatch.setattr(sitk.ImageFileReader, "Execute", lambda _: pytest.fail("it made room"))
    with pytest.raises(InputError, match="cut short"):
        read_volume(path)
