"""Segments a folder of volumes with Slicer and no window, from a support that was saved before.

    Slicer --no-main-window --python-script batch_segment.py support.nrrd volumes results

`support.nrrd` was saved with "Save support" in the module or with `fewshotsam support`. Each volume
in the folder `volumes` (.nrrd, .nii, .nii.gz, .mha) becomes `results/<its name>.seg.nrrd`; a volume
that cannot be segmented is told of in one line, and the others go on. What is there already is left
alone, so that a batch can be taken up again.

For a folder of files without any need of Slicer, `fewshotsam batch` does the same and more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer
from FewShotSAMModule.installation.dependencies import missing
from FewShotSAMModule.runs import logic
from FewShotSAMModule.runs.job import JobError

from FewShotSAMLib import InputError

VOLUMES = (".nrrd", ".nii", ".nii.gz", ".mha")


def main(arguments: Sequence[str]) -> int:
    """Returns the number of volumes that were not segmented, or 2 where nothing could begin."""
    parser = argparse.ArgumentParser(prog="batch_segment.py")
    parser.add_argument("support", type=Path, nargs="+", help="saved supports")
    parser.add_argument("volumes", type=Path, help="folder of volumes")
    parser.add_argument("results", type=Path, help="folder for segmentations")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    if lacking := missing(options.model):
        names = ", ".join(one.name for one in lacking)
        print(f"missing: {names}; open the module FewShotSAM in Slicer once and install them")
        return 2
    options.results.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in sorted(options.volumes.iterdir()):
        ending = next((e for e in sorted(VOLUMES, key=len)[::-1] if path.name.endswith(e)), None)
        if ending is None:
            continue
        target = options.results / f"{path.name.removesuffix(ending)}.seg.nrrd"
        if target.exists():
            print(f"{path.name}: done before")
            continue
        try:
            node = segment_file(path, options.support, options.model, options.device)
            save(node, target)
            print(f"{path.name}: {node.GetSegmentation().GetNumberOfSegments()} segments")
        except (InputError, JobError, OSError) as problem:
            print(f"{path.name}: {problem}")
            failed += 1
        slicer.mrmlScene.Clear(False)
        logic.forget_sources()
    logic.shared_worker().close()
    return failed


def segment_file(path: Path, supports: Sequence[Path], model: str, device: str) -> Any:
    """The segmentation node of a file.

    Raises:
        InputError: the file or a support is unusable.
        JobError: it failed.
    """
    volume = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), path.name)
    if volume is None:
        raise InputError(f"{path}: is not readable as a volume")
    return logic.segment(volume, supports=supports, model=model, device=device)


def save(node: Any, path: Path) -> None:
    """Writes a segmentation node as .seg.nrrd.

    Raises:
        OSError: it cannot be written there.
    """
    node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise OSError(f"{path}: cannot be written")


if __name__ == "__main__":
    status = main(sys.argv[1:])
    if hasattr(slicer, "app"):
        slicer.util.exit(status)
    else:
        sys.exit(status)
