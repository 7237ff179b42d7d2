"""The module's entries in Slicer's Sample Data, made where nobody waits for them."""

from __future__ import annotations

from typing import Any

import slicer

from ..scene.sample_data import CATEGORY, GENERATED, LIVER_CT, add_segmentation, add_volume
from .logic import shared_worker

SHAPE = (40, 256, 256)
SPACING = (1.25, 1.25, 5.0)


def register_sample_data() -> None:
    """Adds the data sets to Slicer's Sample Data module. Nothing is downloaded or generated."""
    from SampleData import SampleDataLogic

    if hasattr(SampleDataLogic, "registerCustomSampleDataCategory"):
        SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title=CATEGORY)
    SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=GENERATED,
        uris="",
        fileNames="",
        nodeNames="Generated abdomen",
        customDownloader=lambda source: show_generated_abdomen(),
    )
    SampleDataLogic.registerCustomSampleDataSource(category=CATEGORY, **LIVER_CT)


def show_generated_abdomen(
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
    seed: int = 0,
) -> list[Any]:
    """Adds a generated abdomen to the scene, with four organs painted on one slice, and shows it.

    The segmentation process makes it, which takes seconds; the window stays at hand meanwhile.

    Args:
        shape: voxels (k, j, i).
        spacing: mm along i, j, k.
        seed: of shapes and noise.

    Returns:
        The volume node and the segmentation node with the painted slice.

    Raises:
        JobError, InputError: it could not be made.
    """
    application = getattr(slicer, "app", None)
    job = shared_worker().abdomen(shape, spacing, seed)
    job.wait(tick=None if application is None else lambda fresh: application.processEvents())
    image, marked = job.check()
    volume = add_volume(image, "Generated abdomen")
    painted = add_segmentation(volume, marked, "Marked slice")
    # Whoever downloads sample data by itself shows it; a downloader of one's own has to.
    if application is not None and application.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return [volume, painted]
