"""One study of a batch, and where its supports come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ...data.errors import InputError
from ...data.reading import read_labels, read_volume
from ...data.support import Support
from ...data.volume import Volume
from .settings import BatchSettings


@dataclass(frozen=True)
class Study:
    """One image to segment.

    Attributes:
        name: of its outputs, without extension; no other study of the batch has it.
        path: the file, or the folder of its series.
        files: all that is read for it.
        series: UID of the DICOM series, "" for a file.
        supports: kept supports for this study, in place of the batch's.
        mask: a drawing on this image itself, as one more support.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    series: str = ""
    supports: tuple[Path, ...] = ()
    mask: Path | None = None

    @property
    def has_own_supports(self) -> bool:
        """Whether it needs none of the batch's."""
        return bool(self.supports) or self.mask is not None

    def absolute(self) -> Study:
        """The same for a process that works in another folder."""
        return replace(
            self, path=self.path.absolute(), files=tuple(one.absolute() for one in self.files),
            supports=tuple(one.absolute() for one in self.supports),
            mask=self.mask and self.mask.absolute(),
        )

    def read(self, settings: BatchSettings) -> Volume:
        """The image. Raises InputError where it cannot be used."""
        return read_volume(
            self.path,
            modality=settings.modality,
            series=self.series or None,
            component=settings.component,
        )

    def drawn_support(self, volume: Volume) -> list[Support]:
        """The support that was drawn on the image itself, if there is one.

        Raises:
            InputError: the drawing cannot be used.
        """
        if self.mask is None:
            return []
        if not self.mask.exists():
            raise InputError(f"{self.mask}: no such file")
        return [Support.from_labels(volume, read_labels(self.mask, like=volume))]
