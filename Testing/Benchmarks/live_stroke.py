"""Seconds from a stroke of the brush to the preview of seven slices, with the networks warm: the
real process and slicer-core, one thread, the embedded networks.

    python Testing/Benchmarks/live_stroke.py [IMAGE.nii.gz LABEL.nii.gz] [--label 1] [--strokes 6]

Without files, a generated abdomen. The panel waits another 0.1 s for the brush to rest.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import slicer

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "FewShotSAM"), str(ROOT / "Testing" / "Slicer")]

from FewShotSAMModule.runs.live import LiveView, segment_around  # noqa: E402
from FewShotSAMModule.runs.worker import Worker  # noqa: E402
from scene_nodes import add_volume, new_application  # noqa: E402

from FewShotSAMLib import read_labels, read_volume  # noqa: E402
from FewShotSAMLib.phantom.abdomen import abdomen  # noqa: E402

AROUND = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--label", type=int, default=1)
    parser.add_argument("--strokes", type=int, default=6)
    chosen = parser.parse_args()
    image, truth = _patient(chosen.files)
    mask = truth == chosen.label
    index = int(mask.sum(axis=(1, 2)).argmax())
    application, logics = new_application()
    slicer.mrmlScene = application.GetMRMLScene()
    slicer.modules = SimpleNamespace(
        **{name: SimpleNamespace(logic=lambda one=one: one) for name, one in logics.items()}
    )
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    volume = add_volume(slicer.mrmlScene, np.ascontiguousarray(image.voxels), matrix)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "painted")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = node.GetSegmentation().AddEmptySegment("", "organ", (1.0, 0.0, 0.0))
    worker, view = Worker(environment={"OMP_NUM_THREADS": "1"}), LiveView(volume)
    columns = np.flatnonzero(mask[index].any(axis=0))
    for n in range(chosen.strokes):
        drawn = np.zeros(mask.shape, np.uint8)
        drawn[index] = mask[index]
        drawn[index, :, : columns[0] + n] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, node, segment, volume)
        _stroke(view, node, index, worker, n)
    worker.close()


def _patient(files: list[Path]) -> tuple:
    if not files:
        patient = abdomen((36, 256, 256), (1.3, 1.3, 6.0))
        return patient.image, patient.truth.voxels
    image = read_volume(files[0], modality="MR")
    return image, read_labels(files[1], like=image).voxels


def _stroke(view: LiveView, node: object, index: int, worker: Worker, n: int) -> None:
    """One run, and what it took."""
    child = psutil.Process(worker.pid) if worker.pid else None
    before = child.cpu_times() if child else None
    start, own = time.perf_counter(), time.process_time()
    run = segment_around(
        view, node, (index - AROUND, index + AROUND), axis="axial", worker=worker, device="cpu"
    )
    while not run.over:
        run.poll()
        time.sleep(0.005)
    run.check()
    seconds, own = time.perf_counter() - start, time.process_time() - own
    said = "the networks are loaded" if before is None else (
        f"CPU: {child.cpu_times().user - before.user:.2f} s of the process, {own:.2f} s here"
    )
    print(f"stroke {n}: {seconds:.2f} s ({said})", flush=True)


if __name__ == "__main__":
    main()
