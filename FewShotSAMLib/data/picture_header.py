"""What a picture's header says, read before ITK does."""

from __future__ import annotations

import warnings
from pathlib import Path

from .errors import InputError

_READERS = {
    b"\x89PNG": "PNGImageIO", b"BM": "BMPImageIO", b"\xff\xd8": "JPEGImageIO",
    b"II*\0": "TIFFImageIO", b"MM\0*": "TIFFImageIO", b"II+\0": "TIFFImageIO",
    b"MM\0+": "TIFFImageIO",
}  # fmt: skip
_PACKED = 2048  # pixels that one byte of a picture holds at most, roughly
_MOST = 1 << 29  # pixels
_LONGEST_SIDE = 1 << 17


def picture_reader(path: Path) -> str:
    """The name of SimpleITK's reader of a picture, told by its content.

    Raises:
        InputError: it is none, or it claims more pixels than its bytes can hold.
    """
    with path.open("rb") as file:
        start = file.read(4)
    reader = next((name for mark, name in _READERS.items() if start.startswith(mark)), "")
    if not reader:
        raise InputError(
            f"{path}: cannot be read (its content is of another kind than its name); export it "
            "again"
        )
    width, height, pages = _size(path)
    pixels = width * height * pages
    if max(width, height) > _LONGEST_SIDE or pixels > min(_MOST, _PACKED * path.stat().st_size):
        raise InputError(
            f"{path}: its header tells of {width} x {height} pixels, which are not there or too "
            "many; export it again"
        )
    return reader


def _size(path: Path) -> tuple[int, int, int]:
    """Width, height and number of pages."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("PNG", "BMP", "TIFF", "JPEG")) as picture:
                return *picture.size, getattr(picture, "n_frames", 1)
    except Image.DecompressionBombError:
        raise InputError(f"{path}: has too many pixels for a picture; save it as .nrrd") from None
    except Image.UnidentifiedImageError:
        return 1, 1, 1  # pixels of a type that ITK may know
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError, OverflowError):
        raise InputError(
            f"{path}: cannot be read (it is damaged or cut short); export it again"
        ) from None
