"""What a batch is asked for: how to segment, and what to write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from ...data.dicom_web import check_server
from ...data.errors import InputError
from ...data.writing import WRITABLE
from ...prompting.registry import DEFAULT
from .statistics import check_statistics

if TYPE_CHECKING:
    from ...segmentation.segmenter import Segmenter

# These say where the work is done and what is written of it, and leave the labels as they are.
_NO_PART_OF_THE_RESULT = (
    "device", "allow_cpu", "formats", "seg_type", "statistics", "report", "dicom_web",
)  # fmt: skip


@dataclass(frozen=True)
class BatchSettings:
    """How every study of a batch is segmented and what is written of it.

    Attributes:
        model, method, features, fob, seed, precision, device, allow_cpu: as for `load_segmenter`.
        strategy: "propagate", "slices" or "memory"; window: as for `Segmenter.segment`.
        modality, component: as for `read_volume`.
        formats: extensions of the segmentations to write; seg_type: of a DICOM SEG.
        statistics: "none", "first-order" or "radiomics".
        report: whether each study gets an HTML page.
        dicom_web: address of a DICOMweb server that each study's DICOM SEG is sent to.
    """

    model: str = "embedded"
    method: str = DEFAULT
    features: str | None = None
    fob: str | None = None
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    allow_cpu: bool = False
    strategy: str = "propagate"
    window: tuple[float, float] | None = None
    modality: str | None = None
    component: int | None = None
    formats: tuple[str, ...] = (".seg.nrrd",)
    seg_type: str = "BINARY"
    statistics: str = "none"
    report: bool = False
    dicom_web: str | None = None

    def __post_init__(self) -> None:
        if not self.formats:
            raise InputError("no format to write; name one such as .seg.nrrd")
        for kind in self.formats:
            if kind not in WRITABLE:
                raise InputError(f"format {kind}: cannot be written; use {' '.join(WRITABLE)}")
        check_statistics(self.statistics)
        if self.dicom_web is not None:
            check_server(self.dicom_web)
            if ".dcm" not in self.formats:
                raise InputError("a DICOMweb server gets DICOM SEG; name .dcm among the formats")
        if self.strategy == "memory":
            from ...models.registry import check_remembers

            check_remembers(self.model)

    def of_result(self) -> dict[str, Any]:
        """Those that the labels depend on, as plain values for JSON."""
        kept = {k: v for k, v in asdict(self).items() if k not in _NO_PART_OF_THE_RESULT}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in kept.items()}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Extensions of all files that a study gets."""
        return (*self.formats, *((".html",) if self.report else ()))

    def load_segmenter(self, tell: Callable[[str], None] | None = None) -> Segmenter:
        """The segmenter that they name, with its networks loaded."""
        from ...segmentation.segmenter import load_segmenter

        return load_segmenter(
            self.model, self.method, self.device, self.features, self.seed,
            precision=self.precision, allow_cpu=self.allow_cpu, fob=self.fob, tell=tell,
        )  # fmt: skip


def settings_from(args: Any) -> BatchSettings:
    """From an object with attributes of the same names, such as a command's parsed options."""
    names = [field.name for field in fields(BatchSettings)]
    values = {name: getattr(args, name) for name in names}
    values["formats"] = tuple(values["formats"])
    return BatchSettings(**values)
