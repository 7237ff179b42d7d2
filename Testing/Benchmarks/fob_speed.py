"""How much faster FoB runs here than it does as it is described, per query slice, without SAM.

Full size, random weights (time does not depend on them), on the CPU:

  ours     the support is encoded and prepared once for all slices and its share is counted;
           slices in batches, the best precision of this processor, prototypes without enlarged
           features, a bias for each key instead of the whole matrix
  literal  support and query encoded for every slice in float32, features enlarged, the whole
           bias matrix, loops over the points (Testing/Unit/fob_literal.py)

    python Testing/Benchmarks/fob_speed.py --slices 16 --threads 1

The goal is a ratio of 10. Each part is timed several times and the least is taken, in seconds of
this process on its cores: on a machine that does other work too, only that says something. The
literal form's loops in Python (dilations, cosines, sampler) would be calls of libraries in any
real program; "loops as library calls" leaves their time out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Unit")]

import fob_literal as literal  # noqa: E402

from FewShotSAMLib.models.fob import FobModel  # noqa: E402
from FewShotSAMLib.models.fob_network import FobNetwork  # noqa: E402
from FewShotSAMLib.models.interfaces import ModelCard  # noqa: E402
from FewShotSAMLib.prompting.fob import Fob, FobSupport  # noqa: E402

SIDE = 256


def least(work: Callable[[], object], repeats: int) -> float:
    """Seconds of processor time; everything runs once before."""
    work()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def library_cosine(features: torch.Tensor, prototype: torch.Tensor) -> torch.Tensor:
    return F.cosine_similarity(features, prototype[:, None, None], dim=0)


def library_max_pool(mask: np.ndarray, side: int) -> np.ndarray:
    pooled = F.max_pool2d(torch.from_numpy(mask)[None, None].float(), side, 1, side // 2)
    return pooled[0, 0].numpy()


def library_sample(features: torch.Tensor, u: float, v: float) -> torch.Tensor:
    place = torch.tensor([[[[2 * u - 1, 2 * v - 1]]]])
    return F.grid_sample(features[None], place, align_corners=True)[0, :, 0, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=16, help="query slices per support")
    parser.add_argument("--batch", type=int, default=4, help="slices at once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", default="auto", help="of ours: auto, fp32, bf16")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    weights = literal.official_state()
    network = FobNetwork()
    network.load_state_dict(weights)
    model = FobModel(network, ModelCard("random"), torch.device("cpu"),
                     precision=options.precision)
    fob = Fob(network, model.dtype)
    pictures = torch.randn(options.batch, 3, SIDE, SIDE)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    mask = ((rows - 120) ** 2 + (columns - 100) ** 2 < 35**2).astype(np.float32)
    features, threshold = model.encode(pictures)

    def support() -> FobSupport:
        return fob.prepare(features[0], torch.from_numpy(mask))

    prepared = support()
    background = prepared.background.expand(options.batch, -1, -1)
    foreground = prepared.foreground.expand(options.batch, -1)

    @torch.inference_mode()
    def prompts() -> None:
        fob.prompts(fob.answer(features, threshold, background, foreground))

    repeats = options.repeats
    one = least(lambda: model.encode(pictures[:1]), repeats)
    ours_encoder = least(lambda: model.encode(pictures), repeats) / options.batch
    ours_rest = least(prompts, repeats) / options.batch
    once = least(support, repeats)
    share = 1 / options.slices

    encoder = literal.Encoder(weights)
    literal_encoder = 2 * least(lambda: encoder(pictures[0]), repeats)

    @torch.inference_mode()
    def described() -> None:
        answer = literal.answer(
            features[0], mask, features[-1], float(threshold[-1]), weights, SIDE, 10
        )
        literal.positives(answer.coarse.numpy())

    literal_rest = least(described, repeats)
    literal.cosine_map = library_cosine
    literal.max_pool = library_max_pool
    literal.sample = library_sample
    library_rest = least(described, repeats)

    ours = (ours_rest + share * once, ours_encoder + ours_rest + share * (one + once))
    print(f"{torch.get_num_threads()} threads, encoder in {model.dtype}, {options.slices} slices a "
          f"support, {options.batch} at once; seconds a query slice")
    print(f"  ours: encoder {ours_encoder:.3f} (alone {one:.3f}), answer {ours_rest:.3f}, "
          f"support once {one + once:.3f} of which prototypes {once:.4f}")
    print(f"{'':24}{'ours':>9}{'literal':>9}{'ratio':>7}   loops as library calls")
    for name, mine, encoded in zip(("without encoder", "with encoder"), ours, (0, literal_encoder),
                                   strict=True):
        slow, library = encoded + literal_rest, encoded + library_rest
        print(f"{name:24}{mine:9.3f}{slow:9.3f}{slow / mine:7.1f}{library:12.3f}"
              f"{library / mine:7.1f}")


if __name__ == "__main__":
    main()
