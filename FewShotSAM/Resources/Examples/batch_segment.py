"""Segments a folder of volumes with Slicer and no window, from a support that was saved before.

    Slicer --no-main-window --python-script batch_segment.py support.nrrd volumes results

`support.nrrd` was saved with "Save support" in the module or with `fewshotsam support`. Each volume
in the folder `volumes` (.nrrd, .nii, .nii.gz, .mha) becomes `results/<its name>.seg.nrrd`; a volume
that cannot be segmented is told of in one line, and the others go on. What is there already is left
alone, so that a batch can be taken up again. The exit status is 0 when all volumes are segmented, 1
when some are not, 2 when an argument cannot be used.

For a folder of files without any need of Slicer, `fewshotsam batch` does the same and more.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")


def main(arguments: Sequence[str]) -> int:
    """Segments the folder.

    Returns:
        The exit status: 0 when all volumes are segmented, 1 when some are not, 2 when an argument
        cannot be used.
    """
    from FewShotSAMLib import InputError

    options = parse(arguments)
    try:
        check(options)
    except (InputError, OSError) as problem:
        print(" ".join(str(problem).split()))
        return 2
    return segment_folder(options)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="batch_segment.py")
    parser.add_argument("support", type=Path, nargs="+", help="saved supports")
    parser.add_argument("volumes", type=Path, help="folder of volumes")
    parser.add_argument("results", type=Path, help="folder for segmentations")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--device", default="auto")
    return parser.parse_args(arguments)


def check(options: argparse.Namespace) -> None:
    """Looks whether a beginning can be made, and makes the folder for the results.

    Raises:
        InputError, OSError: not with these arguments.
    """
    from FewShotSAMModule.installation.dependencies import missing

    from FewShotSAMLib import InputError, Support

    if lacking := missing(options.model):
        names = ", ".join(one.name for one in lacking)
        raise InputError(
            f"missing: {names}; open the module FewShotSAM in Slicer once and install them"
        )
    if not options.volumes.is_dir():
        raise InputError(f"{options.volumes}: there is no such folder; name the one of the volumes")
    for path in options.support:
        Support.load(path)
    options.results.mkdir(parents=True, exist_ok=True)


def segment_folder(options: argparse.Namespace) -> int:
    """Every volume of the folder; returns 1 where one was not segmented, else 0."""
    from FewShotSAMModule.runs import logic

    status = 0
    for path in sorted(options.volumes.iterdir()):
        ending = next((one for one in VOLUMES if path.name.endswith(one)), None)
        if ending is None:
            continue
        target = options.results / f"{path.name.removesuffix(ending)}.seg.nrrd"
        if target.exists():
            print(f"{path.name}: done before")
        elif not segment_into(path, target, options):
            status = 1
        slicer.mrmlScene.Clear(False)
        logic.forget_sources()
    logic.shared_worker().close()
    return status


def segment_into(path: Path, target: Path, options: argparse.Namespace) -> bool:
    """Segments one file into another and says so in one line, or why not."""
    from FewShotSAMModule.runs.job import JobError

    from FewShotSAMLib import InputError

    try:
        node = segment_file(path, options.support, options.model, options.device)
        save(node, target)
    except (InputError, JobError, OSError) as problem:
        print(f"{path.name}: {problem}")
        return False
    print(f"{path.name}: {node.GetSegmentation().GetNumberOfSegments()} segments")
    return True


def segment_file(path: Path, supports: Sequence[Path], model: str, device: str) -> Any:
    """The segmentation node of a file.

    Raises:
        InputError: the file or a support is unusable.
        JobError: it failed.
    """
    from FewShotSAMModule.runs import logic

    from FewShotSAMLib import InputError

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


def run(arguments: Sequence[str]) -> int:
    """`main`, whatever happens: an exception would leave Slicer open, with nobody to close it."""
    try:
        return main(arguments)
    except SystemExit as end:  # of the command line's parser
        return end.code if isinstance(end.code, int) else 2
    except BaseException:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    status = run(sys.argv[1:])
    if hasattr(slicer, "app"):
        slicer.util.exit(status)
    else:
        sys.exit(status)
