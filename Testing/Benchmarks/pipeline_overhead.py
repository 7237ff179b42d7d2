"""How much the pipeline costs over its networks, and how much the plain way costs over it.

Three measurements in one process on the same slices, with random weights (time does not depend on
them):

  (a) networks   the encoders' forwards alone, over the support slice and all query slices
  (b) pipeline   Segmenter.segment(strategy="slices"), from stored voxels to labels
  (c) reference  the methods as published code runs them: one slice at a time, float32, the support
                 encoded again for every query, one confidence map per support feature, arrays
                 going through numpy, everything again for each organ

    python Testing/Benchmarks/pipeline_overhead.py --preset fast --device cpu --slices 3 --organs 1

Ratios that count: (b)/(a), to be at most 1.3 and aimed at 1.1; (c)/(b), to be at least 5 for one
organ and 15 for four on a GPU, 2 and 6 on a CPU. Before each measurement everything runs once on
one slice, so that nothing is measured that happens once per program.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from overhead import SIDE, Measured, fastest, generated, measure, turns
from scipy import ndimage
from sklearn.cluster import KMeans
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from FewShotSAMLib.data.volume import Volume  # noqa: E402
from FewShotSAMLib.models.devices import choose_device  # noqa: E402
from FewShotSAMLib.models.dinov2 import Dinov2Features, build_dinov2  # noqa: E402
from FewShotSAMLib.models.interfaces import ModelCard  # noqa: E402
from FewShotSAMLib.models.sam import SAM_MODELS, SamModel, build_sam  # noqa: E402
from FewShotSAMLib.models.sam2 import Sam2Model, build_sam2  # noqa: E402
from FewShotSAMLib.segmentation.encoding import Encoders  # noqa: E402

PRESETS = {
    "fast": ("sam2.1-tiny", "dinov2-small-registers"),
    "balanced": ("sam2.1-base-plus", "dinov2-base-registers"),
    "best": ("sam2.1-large", "dinov2-large-registers"),
    "sam-vit-b": ("sam-vit-b", "dinov2-base-registers"),
    "sam-vit-h": ("sam-vit-h", "dinov2-large-registers"),
}


def networks(preset: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    sam, dino = PRESETS[preset]
    torch.manual_seed(0)
    return (build_sam if sam in SAM_MODELS else build_sam2)(sam), build_dinov2(dino)


def models(
    preset: str, nets: tuple, device: torch.device, precision: str
) -> tuple[SamModel | Sam2Model, Dinov2Features]:
    kind = SamModel if PRESETS[preset][0] in SAM_MODELS else Sam2Model
    sam, dino = nets
    return (
        kind(sam, ModelCard(PRESETS[preset][0]), device, precision),
        Dinov2Features(dino, ModelCard(PRESETS[preset][1]), device, precision),
    )


class Reference:
    """SynPo as published code runs it, for one organ and one slice at a time, in float32."""

    def __init__(self, preset: str, nets: tuple, device: torch.device) -> None:
        self.network, self.dino = (n.to(device) for n in nets)
        self.device = device
        if PRESETS[preset][0] in SAM_MODELS:
            from segment_anything import SamPredictor

            self.predictor = SamPredictor(self.network)
        else:
            from sam2.sam2_image_predictor import SAM2ImagePredictor

            self.predictor = SAM2ImagePredictor(self.network)

    def sam_features(self, picture: np.ndarray) -> np.ndarray:
        self.predictor.set_image(picture)
        return self.predictor.get_image_embedding()[0].cpu().numpy()

    @torch.no_grad()
    def dino_features(self, picture: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(picture).permute(2, 0, 1)[None].float().to(self.device) / 255
        x = F.interpolate(x, size=(896, 896), mode="bilinear")
        x = (x - 0.45) / 0.226
        tokens = self.dino.forward_features(x)[0, self.dino.num_prefix_tokens :]
        return tokens.T.reshape(-1, 64, 64).cpu().numpy()

    def confidence(self, query: np.ndarray, support: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """One map per support feature inside the mask, each upsampled, then their mean."""
        flat = torch.from_numpy(query.reshape(len(query), -1)).to(self.device)
        flat = flat / flat.norm(dim=0, keepdim=True)
        targets = torch.from_numpy(support[:, mask]).to(self.device)
        targets = targets / targets.norm(dim=0, keepdim=True)
        maps = []
        for n in range(targets.shape[1]):
            one = (targets[:, n] @ flat).reshape(1, 1, 64, 64)
            one = F.interpolate(one, size=(SIDE, SIDE), mode="bilinear")
            maps.append(one[0, 0].cpu().numpy())
        return np.mean(maps, axis=0)

    def segment(self, query: np.ndarray, image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """query, image: (H, W, 3) uint8; drawn: bool (H, W)."""
        grid = F.interpolate(
            torch.from_numpy(drawn)[None, None].float(), size=(64, 64), mode="bilinear"
        )
        mask = grid[0, 0].numpy() > 0
        support = [self.sam_features(image), self.dino_features(image)]
        features = [self.sam_features(query), self.dino_features(query)]
        fused = self.fuse([self.confidence(q, s, mask) for q, s in zip(features, support)])
        background = self.fuse([self.negatives(s, mask) for s in support])
        points, labels = self.points(fused, background, float(drawn.mean()))
        masks, _, low = self.predictor.predict(points, labels, multimask_output=True)
        kept = self.best(masks[0] > 0, fused)
        small = ndimage.zoom(kept.astype(np.float32), 256 / SIDE, order=0) > 0.5
        prompt = np.where(small, low[0], -10.0)[None]
        masks, _, _ = self.predictor.predict(
            points, labels, mask_input=prompt, multimask_output=True
        )
        return self.best(masks[0] > 0, fused)

    def negatives(self, support: np.ndarray, mask: np.ndarray) -> np.ndarray:
        flat = torch.from_numpy(support.reshape(len(support), -1)).to(self.device)
        flat = flat / flat.norm(dim=0, keepdim=True)
        inside = torch.from_numpy(mask.ravel()).to(self.device)
        return (flat[:, inside].T @ flat[:, ~inside]).mean(0).cpu().numpy()

    @staticmethod
    def fuse(maps: list[np.ndarray]) -> np.ndarray:
        sam, dino = maps
        return 0.8 * sam * dino + 0.1 * sam + 0.1 * dino

    @staticmethod
    def points(
        fused: np.ndarray, background: np.ndarray, share: float
    ) -> tuple[np.ndarray, np.ndarray]:
        count = min(int(10 * share) + 2, 3)
        top = np.argsort(fused.ravel())[::-1][: 20 * count]
        rows, columns = np.unravel_index(top, fused.shape)
        positive = KMeans(count, n_init=10, random_state=0).fit(np.stack([columns, rows], 1))
        low = background.mean()
        high = low + 1.5 * background.std()
        rows, columns = np.nonzero((fused >= low) & (fused <= high))
        found = [positive.cluster_centers_]
        if len(rows) >= 80:
            chosen = np.random.default_rng(0).choice(len(rows), 80, replace=False)
            places = np.stack([columns[chosen], rows[chosen]], 1)
            found.append(KMeans(4, n_init=10, random_state=0).fit(places).cluster_centers_)
        labels = np.concatenate([np.full(len(p), 1 - n) for n, p in enumerate(found)])
        return np.concatenate(found).astype(np.float32), labels

    @staticmethod
    def best(mask: np.ndarray, fused: np.ndarray) -> np.ndarray:
        mask = ndimage.binary_dilation(ndimage.binary_erosion(mask))
        labels, count = ndimage.label(mask)
        if count == 0:
            return mask
        means = ndimage.mean(fused, labels, np.arange(1, count + 1))
        areas = ndimage.sum_labels(mask, labels, np.arange(1, count + 1))
        return labels == 1 + np.argmax(np.where(areas >= 16, means, -1))


def as_pictures(volume: Volume) -> np.ndarray:
    """(S, H, W, 3) uint8."""
    grey = volume.voxels.astype(np.float32)
    low, high = np.percentile(grey, (0.5, 99.5))
    scaled = ((grey - low) / (high - low)).clip(0, 1) * 255
    return np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=-1)


def run(
    preset: str,
    device: torch.device,
    slices: int,
    organs: int,
    *,
    precision: str,
    reference_slices: int,
    repeats: int,
) -> dict:
    """All three measurements of one preset."""
    nets = networks(preset)
    model, features = models(preset, nets, device, precision)
    images = torch.rand(slices, 3, model.input_size, model.input_size, device=device)
    small = torch.rand(slices, 3, features.input_size, features.input_size, device=device)

    forwards = [
        (getattr(nets[0], "forward_image", nets[0].image_encoder), images, model),
        (nets[1].forward_features, small, features),
    ]
    both = turns(Encoders(model, features, device), forwards, slices, organs, repeats)
    found = {
        "networks": fastest([networks_ for networks_, _ in both]),
        "pipeline": fastest([pipeline_ for _, pipeline_ in both]),
    }
    query, _ = generated(slices, organs, seed=1)
    volume, labels = generated(3, organs, seed=2)
    reference = Reference(preset, nets, device)
    pictures, drawn = as_pictures(query), as_pictures(volume)[1]
    count = min(slices, reference_slices)

    def plain() -> None:
        for organ in range(1, organs + 1):
            for picture in pictures[:count]:
                reference.segment(picture, drawn, labels.voxels[1] == organ)

    if count:
        if device.type != "cpu":
            reference.segment(pictures[0], drawn, labels.voxels[1] == 1)
        part = measure(plain, device)
        share = slices / count
        found["reference"] = Measured(part.seconds * share, part.processor * share, part.memory)
    return {name: vars(m) for name, m in found.items()} | {
        "preset": preset, "device": str(device), "slices": slices, "organs": organs,
        "precision": str(model.dtype).removeprefix("torch."),
    }


def show(result: dict) -> None:
    a, b = result["networks"], result["pipeline"]
    print(f"\n{result['preset']}: {result['slices']} slices, {result['organs']} organs, "
          f"{result['device']}, {result['precision']}")
    rows = [("(a) networks alone", a), ("(b) this pipeline", b)]
    if "reference" in result:
        rows.append(("(c) plain reference", result["reference"]))
    for name, m in rows:
        print(f"  {name:20s} {m['seconds']:9.3f} s {m['processor']:9.3f} s of processor "
              f"{m['memory'] / 2**20:7.0f} MiB")
    for clock in ("seconds", "processor"):
        line = f"  by {clock:9s} (b)/(a) = {b[clock] / a[clock]:.3f}"
        if "reference" in result:
            line += f"   (c)/(b) = {result['reference'][clock] / b[clock]:.1f}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Time and memory of networks, pipeline and a plain reference."
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--preset", choices=[*PRESETS, "all"], default="fast")
    parser.add_argument("--slices", type=int, default=8, help="query slices")
    parser.add_argument("--organs", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--precision", default="auto", help="of (a) and (b); (c) is float32")
    parser.add_argument(
        "--reference-slices", type=int, default=2,
        help="slices the reference really runs; its time is scaled to all. 0 leaves it out",
    )
    parser.add_argument("--repeats", type=int, default=1, help="of (a) and (b); the least counts")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device).device
    presets = list(PRESETS) if options.preset == "all" else [options.preset]
    results = []
    for preset in presets:
        for organs in options.organs:
            results.append(run(
                preset, device, options.slices, organs, precision=options.precision,
                reference_slices=options.reference_slices, repeats=options.repeats,
            ))
            show(results[-1])
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
