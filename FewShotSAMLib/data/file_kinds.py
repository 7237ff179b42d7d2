"""Which files are read, by the ends of their names."""

from __future__ import annotations

from pathlib import Path

JPEG = (".jpg", ".jpeg")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz")
VOLUMES = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd")
DICOM = (".dcm", ".dicom", ".ima")
READABLE = (*VOLUMES, *DICOM, *PICTURES)


def extension(path: Path) -> str:
    """The lower-case extension, ".nii.gz" and ".seg.nrrd" included; "" where there is none."""
    name = path.name.lower()
    for double in (".nii.gz", ".img.gz", ".seg.nrrd"):
        if name.endswith(double):
            return double
    return path.suffix.lower()


def is_dicom_file(path: Path) -> bool:
    """Whether the file carries DICOM's mark, whatever its name. Pipes are not opened."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
