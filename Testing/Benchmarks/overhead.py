"""The bare networks' forwards and the whole pipeline, measured on the same slices."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.data.volume import Volume  # noqa: E402
from FewShotSAMLib.models.devices import choose_device  # noqa: E402
from FewShotSAMLib.models.precision import autocast  # noqa: E402
from FewShotSAMLib.segmentation.encoding import Encoders  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import Segmenter  # noqa: E402

SIDE = 256  # pixels of the generated slices
# A network's forward, pictures for it, and the model it belongs to.
Forward = tuple[Callable[[torch.Tensor], object], torch.Tensor, object]


@dataclass(frozen=True)
class Measured:
    """Seconds on the clock, seconds of this process on all its CPU cores, highest memory in bytes.

    On a machine that does other work too, only the second one says something; with --threads 1
    it is the time that the first would be on an idle machine.
    """

    seconds: float
    processor: float
    memory: int


def generated(slices: int, organs: int, seed: int) -> tuple[Volume, Volume]:
    """A body with ellipsoid organs, in stored MR values, and its labels."""
    rng = np.random.default_rng(seed)
    j, i = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    body = (i / 0.45) ** 2 + (j / 0.38) ** 2 < 1
    image = np.where(body, 120.0, 0.0)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for organ in range(organs):
        angle = 2 * np.pi * organ / organs + 0.3
        y, x = 0.17 * np.sin(angle), 0.22 * np.cos(angle)
        inside = ((i - x) / 0.11) ** 2 + ((j - y) / 0.09) ** 2 < 1
        image[inside] = 180 + 45 * organ
        labels[inside] = organ + 1
    noise = ndimage.gaussian_filter(rng.normal(0, 40, (slices, SIDE, SIDE)), (0, 1.5, 1.5))
    voxels = (image + noise).clip(0).astype(np.int16)
    grid = ((1.5, 1.5, 5.0), (float(seed), 0.0, 0.0), np.eye(3))
    stack = np.broadcast_to(labels, voxels.shape).copy()
    return Volume(voxels, *grid, "MR", f"generated {seed}"), Volume(stack, *grid, "other", "drawn")


def measure(work: Callable[[], object], device: torch.device) -> Measured:
    """Runs `work` once; memory is the device's on CUDA and the process's growth elsewhere."""
    cuda = device.type == "cuda"
    process, stop, highest = psutil.Process(), threading.Event(), [0]
    before = 0 if cuda else process.memory_info().rss

    def watch() -> None:
        while not stop.wait(0.02):
            highest[0] = max(highest[0], process.memory_info().rss)

    if cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    else:
        threading.Thread(target=watch, daemon=True).start()
    start, start_processor = time.perf_counter(), time.process_time()
    work()
    if cuda:
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    processor = time.process_time() - start_processor
    stop.set()
    if cuda:
        return Measured(seconds, processor, torch.cuda.max_memory_allocated(device))
    return Measured(seconds, processor, max(0, highest[0] - before))


def fastest(measured: list[Measured]) -> Measured:
    """The least time, which other programs disturbed least, and the most memory."""
    return Measured(
        min(m.seconds for m in measured),
        min(m.processor for m in measured),
        max(m.memory for m in measured),
    )


@torch.inference_mode()
def bare(forwards: Sequence[Forward], device: torch.device) -> None:
    """The networks alone, over all pictures and once more over the first: the support."""
    for forward, pixels, owner in forwards:
        with autocast(device, owner.dtype):
            for part in (*pixels.split(owner.slices_at_once), pixels[:1]):
                forward(part)


def fresh(encoders: Encoders) -> Segmenter:
    """The same networks, which have seen no picture yet."""
    device = encoders.device
    return Segmenter(
        Encoders(encoders.model, encoders.features, device), choose_device(str(device))
    )


def turns(
    encoders: Encoders, forwards: Sequence[Forward], slices: int, organs: int, repeats: int
) -> list[tuple[Measured, Measured]]:
    """Bare networks and pipeline, several times in turn, on a generated volume."""
    device = encoders.device
    query, _ = generated(slices, organs, seed=1)
    support = Support.from_labels(*generated(3, organs, seed=2), axis="axial", slices=[1])

    def pipeline(volume: Volume) -> None:
        fresh(encoders).segment(volume, [support], strategy="slices")

    pipeline(generated(1, organs, seed=3)[0])
    if device.type != "cpu":
        bare(forwards, device)  # the first large batch asks the driver for memory
        pipeline(query)
    both = partial(bare, forwards, device), partial(pipeline, query)
    return [tuple(measure(work, device) for work in both) for _ in range(repeats)]
