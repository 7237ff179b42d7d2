"""Headers that lie, in every format: one line, before any library below makes room or follows a
name. Each is read in a child with limits, since some of them once took the process down."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.data.writing import write_volume

VOXELS = np.random.default_rng(0).integers(0, 900, (5, 12, 12)).astype(np.int16)
SCRIPT = """
import json, os, pathlib, sys
from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_labels, read_volume
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
except ImportError:
    pass
said = {}
for name in sys.argv[1:]:
    path = pathlib.Path(os.fsdecode(bytes.fromhex(name)))
    for read in (read_volume, read_labels):
        try:
            read(path)
        except InputError as error:
            said[f"{read.__name__} {name}"] = str(error)
        else:
            said[f"{read.__name__} {name}"] = ""
print(json.dumps(said))
"""


def read_in_a_child(*paths) -> list[str]:
    """What reading each as an image and as labels says; "" of what was read."""
    names = [os.fsencode(path).hex() for path in paths]
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names], capture_output=True, text=True, encoding="utf-8",
        timeout=60 + 10 * len(names),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return list(json.loads(ran.stdout).values())


def refused(*paths) -> list[str]:
    said = read_in_a_child(*paths)
    assert len(said) == 2 * len(paths)
    assert all(said) and not any("\n" in line for line in said), said
    return said


MHA = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0",
    "ElementSpacing": "1 1 2", "DimSize": "12 12 5", "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}  # fmt: skip
NRRD = {
    "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "12 12 5",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)", "kinds": "domain domain domain",
    "endian": "little", "encoding": "raw", "space origin": "(0,0,0)",
}  # fmt: skip


def mha(path, content=None, **changes) -> Path:
    fields = {**MHA, **changes}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # ends the header
    lines = "".join(f"{k} = {v}\n" for k, v in fields.items())
    path.write_bytes(lines.encode() + (VOXELS.tobytes() if content is None else content))
    return path


def nrrd(path, content=None, **changes) -> Path:
    fields = {**NRRD, **{k.replace("_", " "): v for k, v in changes.items()}}
    lines = "NRRD0004\n" + "".join(f"{k}: {v}\n" for k, v in fields.items()) + "\n"
    path.write_bytes(lines.encode() + (VOXELS.tobytes() if content is None else content))
    return path


def nifti(path, **changes) -> Path:
    """A .nii whose header has other bytes: place -> (format, numbers)."""
    write_volume(Volume(VOXELS), path)
    content = bytearray(path.read_bytes())
    for place, (layout, *numbers) in changes.items():
        struct.pack_into(layout, content, int(place[1:]), *numbers)
    path.write_bytes(content)
    return path


def test_the_headers_without_lies_are_read(tmp_path):
    packed, thin = gzip.compress(VOXELS.tobytes()), zlib.compress(VOXELS.tobytes())
    files = [
        mha(tmp_path / "a.mha"), nrrd(tmp_path / "a.nrrd"), nifti(tmp_path / "a.nii"),
        mha(tmp_path / "b.mha", thin, CompressedData="True", CompressedDataSize=len(thin)),
        nrrd(tmp_path / "b.nrrd", packed, encoding="gzip"),
    ]  # fmt: skip
    assert not any(read_in_a_child(*files))


BIG = "2000 2000 1000"
WRONG_MHA = [
    {"NDims": "99"}, {"NDims": "-1"}, {"NDims": "0"}, {"NDims": "6"}, {"NDims": "four"},
    {"NDims": "4"}, {"DimSize": BIG}, {"DimSize": "12 12"}, {"DimSize": "12 12 -5"},
    {"DimSize": "12 12 99999999999999999999"}, {"TransformMatrix": "1e308 0 0 0 1e308 0 0 0 1"},
    {"TransformMatrix": "nan 0 0 0 1 0 0 0 1"}, {"TransformMatrix": "1 0 0"},
    {"Offset": "inf 0 0"}, {"Offset": "1e308 0 0"}, {"ElementSpacing": "0 1 1"},
    {"ElementSpacing": "nan 1 1"}, {"ElementSpacing": "1e300 1 1"},
    {"ElementNumberOfChannels": "99999999"}, {"ElementType": "MET_NONE"},
    {"CompressedData": "True"}, {"CompressedData": "True", "CompressedDataSize": "99999999"},
    {"HeaderSize": "-7"}, {"BinaryData": "False", "DimSize": BIG},
]  # fmt: skip
WRONG_NRRD = [
    {"dimension": "99"}, {"dimension": "16"}, {"sizes": BIG}, {"sizes": "12 12"},
    {"sizes": "12 12 -5"}, {"sizes": "12 12 99999999999999999999"},
    {"space_directions": "(1e308,0,0) (0,1e308,0) (0,0,1e308)"},
    {"space_directions": "(1e150,0,0) (0,1e150,0) (0,0,1e150)"},
    {"space_directions": "(nan,0,0) (0,1,0) (0,0,1)"}, {"space_origin": "(inf,0,0)"},
    {"space_directions": "(0,0,0) (0,1,0) (0,0,1)"}, {"type": "block"}, {"encoding": "gzip"},
    {"encoding": "bzip2"}, {"byte_skip": "-7"}, {"line_skip": "99999999999"},
    {"sizes": BIG, "encoding": "ascii"}, {"sizes": "1 " * 5000, "dimension": "5000"},
    {"space_origin": "(-133" + "x" * 5000}, {"space_directions": "(1,0,0) (0,1,0) " + "y" * 5000},
]  # fmt: skip


def test_lies_in_meta_images_are_one_line(tmp_path):
    refused(*[mha(tmp_path / f"{n}.mha", **one) for n, one in enumerate(WRONG_MHA)])


def test_lies_in_nrrd_files_are_one_line(tmp_path):
    refused(*[nrrd(tmp_path / f"{n}.nrrd", **one) for n, one in enumerate(WRONG_NRRD)])


def test_packed_files_that_claim_gigabytes(tmp_path):
    packed = gzip.compress(VOXELS.tobytes())
    said = refused(
        nrrd(tmp_path / "a.nrrd", packed, sizes=BIG, encoding="gzip"),
        mha(tmp_path / "a.mha", zlib.compress(VOXELS.tobytes()), DimSize=BIG,
            CompressedData="True", CompressedDataSize=len(packed)),
    )  # fmt: skip
    assert all("header is wrong" in line for line in said)


WRONG_NIFTI = [
    {"_40": ("<4h", 3, 2000, 2000, 1000)}, {"_40": ("<h", 99)}, {"_40": ("<h", -3)},
    {"_40": ("<2h", 3, -12)}, {"_80": ("<f", 0.0)}, {"_84": ("<f", float("nan"))},
    {"_88": ("<f", float("inf"))}, {"_80": ("<f", 1e30)}, {"_280": ("<f", float("nan"))},
    {"_284": ("<f", 1e38)}, {"_268": ("<f", float("inf"))}, {"_108": ("<f", 1e9)},
    {"_108": ("<f", float("nan"))}, {"_70": ("<2h", 16, 7)}, {"_256": ("<f", float("nan"))},
]  # fmt: skip


def test_lies_in_nifti_files_are_one_line(tmp_path):
    refused(*[nifti(tmp_path / f"{n}.nii", **one) for n, one in enumerate(WRONG_NIFTI)])


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.raw", "sub/inside.raw", ".."])
def test_voxels_are_read_from_beside_the_header_alone(tmp_path, name):
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    for file in ("outside.raw", "folder/sub/inside.raw"):
        (tmp_path / file).write_bytes(VOXELS.tobytes())
    folder = tmp_path / "folder"
    said = refused(
        mha(folder / "a.mhd", b"", ElementDataFile=name, DimSize="2 2 1"),
        mha(folder / "b.mhd", f"{name}\n".encode(), ElementDataFile="LIST", DimSize="2 2 1"),
        nrrd(folder / "a.nhdr", b"", data_file=name, sizes="2 2 1"),
        mha(folder / "c.mhd", b"", ElementDataFile=f"{name}%03d 1 1 1"),
    )
    assert all("beside it" in line or "is not there" in line for line in said), said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_are_not_waited_for(tmp_path):
    for name in ("pipe.raw", "pipe.nii.gz", "pipe.dcm", "pipe.png", "half.img"):
        os.mkfifo(tmp_path / name)
    nifti(tmp_path / "half.nii").rename(tmp_path / "half.hdr")
    refused(
        mha(tmp_path / "a.mhd", b"", ElementDataFile="pipe.raw"),
        nrrd(tmp_path / "a.nhdr", b"", data_file="pipe.raw"),
        *[tmp_path / f"pipe.{kind}" for kind in ("nii.gz", "dcm", "png")],
        tmp_path / "half.hdr",
        tmp_path / "half.img",
    )


def test_zeros_without_end_are_unpacked_as_far_as_needed(tmp_path):
    """Eight gigabytes of zeros in eight megabytes: the child has three, and kilobytes will do."""
    packed = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = (packed.compress(bytes(1 << 26)) + packed.flush()) * 128
    content = nifti(tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content) + zeros)
    (tmp_path / "other_name.nii").write_bytes(gzip.compress(content) + zeros)
    nrrd(tmp_path / "a.nrrd", gzip.compress(VOXELS.tobytes()) + zeros, encoding="gzip")
    assert not any(
        read_in_a_child(tmp_path / "a.nii.gz", tmp_path / "other_name.nii", tmp_path / "a.nrrd")
    )


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_names_that_are_no_text_get_one_line(tmp_path):
    path = tmp_path / os.fsdecode(b"scan\xff.nrrd")
    nrrd(path)
    other = path.with_suffix(".png")
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS[0].astype(np.uint8)), str(tmp_path / "a.png"))
    other.write_bytes((tmp_path / "a.png").read_bytes())
    assert all("not UTF-8" in line for line in refused(path, other))


def test_pictures_that_claim_more_than_they_hold(tmp_path):
    header = struct.pack(">IIBBBBB", 2_000_000, 2_000_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header
    chunk += struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    (tmp_path / "b.bmp").write_bytes(
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, 90000, 90000, 1, 8, 1, 6, 0, 0,
                            0, 0)
    )  # fmt: skip
    refused(tmp_path / "a.png", tmp_path / "b.bmp")
