"""Does FoB's refinement help once gradients reach it? An experiment, nothing of which is shipped.

    python Testing/Accuracy/fob_refinement.py --out FOLDER [--test 13 15] [--start FILE]

The published code detaches the refined points before their loss, so that the refinement's weights
never learn. Here a small FoB (the embedded model's frozen pyramid as its backbone) is trained
twice on the supervoxels of the unlabelled abdominal MR images, from the same first weights:
"official", as published, and "repaired". The two patients that were not trained on then support
each other: given slices, four organs. Labels serve to measure only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from registration_baseline import MR_ORGANS, mr_cases  # noqa: E402

from FewShotSAMLib.data.slicing import extract_slices  # noqa: E402
from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.evaluation.protocol import (  # noqa: E402
    Case,
    organ_slices,
    query_chunks,
    support_slices,
)
from FewShotSAMLib.models.embedded import EmbeddedModel, load_embedded  # noqa: E402
from FewShotSAMLib.models.fob import FobModel, embedded_config, read_fob  # noqa: E402
from FewShotSAMLib.models.interfaces import ModelCard  # noqa: E402
from FewShotSAMLib.prompting.background_ring import contour_points, ring  # noqa: E402
from FewShotSAMLib.prompting.fob import Fob  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import load_segmenter  # noqa: E402
from FewShotSAMLib.segmentation.slices import decode, segment_slices  # noqa: E402
from FewShotSAMLib.training.fob import (  # noqa: E402
    FobTraining,
    embedded_schedule,
    train,
)
from FewShotSAMLib.training.fob_volumes import VolumeEpisodes, prepare_volume  # noqa: E402
from FewShotSAMLib.training.run_log import print_row  # noqa: E402

CPU = torch.device("cpu")


def trained(
    variant: str, images: list, backbone: EmbeddedModel, chosen: argparse.Namespace
) -> FobModel:
    """FoB of one variant after its training; a run in the folder goes on."""
    folder = chosen.out / variant
    folder.mkdir(parents=True, exist_ok=True)
    volumes = [prepare_volume(image, "body", chosen.out) for image in images]
    source = VolumeEpisodes(volumes, seed=0, device=CPU, pairs=2, structures=3, held_out=0)
    config = embedded_config(backbone.network.config, refinement=variant, modality="MR")
    run = FobTraining(config, "cpu", 0, embedded_schedule(chosen.steps), backbone)
    if chosen.start is not None:  # all but the refinement, which begins anew in both variants
        start = read_fob(chosen.start)[0].state_dict()
        own = run.network.state_dict()
        run.network.load_state_dict(
            {name: own[name] if name.startswith("refine.") else start[name] for name in own}
        )
    train(run, source, folder, minutes=chosen.minutes, tell=print_row)
    return FobModel(run.network, ModelCard(variant), CPU, backbone)


@torch.inference_mode()
def measure(model: FobModel, support: Case, query: Case) -> list[tuple[float, ...]]:
    """Per organ: distance of found and of refined points to the true ring (pixels of 256), shares
    of points inside the organ (negatives found, refined, positives), Dice of FoB's points alone
    and with SynPo's confidence map and refinement."""
    segmenter = load_segmenter("embedded", device="cpu")
    fob, network = Fob(model.network), segmenter.encoders.model
    rows = []
    for label in MR_ORGANS:
        given, own = organ_slices(query, label, "axial"), organ_slices(support, label, "axial")
        distances, inside = [], []
        truths, alone, guided = [], [], []
        for chunk, place in zip(query_chunks(given), support_slices(len(own)), strict=True):
            one = Support.from_labels(
                support.image, support.labels, axis="axial", slices=[own[place]],
                keep_labels=[label],
            )
            work = segmenter.work(query.image, [one])
            mine = segmenter.work(support.image, [one])
            mask = (support.labels.voxels[own[place]] == label)[None]
            cover = mine.frame.masks_to_model(torch.from_numpy(mask))[0, 0]
            features, _ = model.of_embeddings(mine.slices.one(own[place]).embeddings)
            kept = fob.prepare(features[0], cover)
            for index in chunk:
                encoded = work.slices.one(index)
                features, threshold = model.of_embeddings(encoded.embeddings)
                answer = fob.answer(
                    features, threshold, kept.background[None], kept.foreground[None]
                )
                points = fob.prompts(answer, [kept.has_ring])
                truth = extract_slices(query.labels.voxels, "axial")[index] == label
                cover = work.frame.masks_to_model(torch.from_numpy(truth)[None])[0, 0]
                around = contour_points(ring((cover > 0.5).float()).numpy() > 0, 60)
                if around is not None:
                    seen = answer.seen[0].numpy()
                    for name, p in (("found", answer.found), ("refined", answer.points)):
                        place_of = p[0].numpy()[seen] if name == "found" else p[0].numpy()
                        away = np.linalg.norm(place_of[:, None] - around[None], axis=2).min(1)
                        distances.append((name, float(away.mean())))
                        inside.append((name, _share(cover, place_of)))
                inside.append(("positives", _share(cover, points[0].positives)))
                maps = work.method.propose(encoded, work.structures[0].kept).confidence
                picture = torch.zeros(1, dtype=torch.long)
                bare = decode(network, encoded, picture, points, roi_size=256).logits
                full = segment_slices(
                    network, encoded, picture, points, maps, work.method.masks
                ).logits
                for masks, logits in ((alone, bare), (guided, full)):
                    masks.append((work.frame.logits_to_slice(logits[:, None])[0, 0] > 0).numpy())
                truths.append(truth)
        truth = np.stack(truths)
        rows.append((
            _mean(distances, "found"), _mean(distances, "refined"), _mean(inside, "found"),
            _mean(inside, "refined"), _mean(inside, "positives"),
            *(2 * (np.stack(m) & truth).sum() / (np.stack(m).sum() + truth.sum())
              for m in (alone, guided)),
        ))
    return rows


def _share(cover: torch.Tensor, points: np.ndarray) -> float:
    x, y = np.clip(np.rint(points).astype(int), 0, 255).T
    return float((cover.numpy()[y, x] > 0.5).mean()) if len(points) else float("nan")


def _mean(pairs: list[tuple[str, float]], name: str) -> float:
    return float(np.nanmean([value for kind, value in pairs if kind == name]))


def main() -> None:
    """Train and measure both variants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--test", type=int, nargs=2, default=[13, 15])
    parser.add_argument("--minutes", type=float, default=18, help="for each variant")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--start", type=Path, help="a small FoB to begin with")
    parser.add_argument("--variants", nargs="+", default=["official", "repaired"])
    chosen = parser.parse_args()
    cases = list(mr_cases(chosen.data))
    tested = [c for c in cases if int(c.name.split()[1]) in chosen.test]
    images = [c.image for c in cases if c not in tested]
    backbone, _ = load_embedded(CPU)
    titles = ("ring found", "ring refined", "neg. in", "neg. in refined", "pos. in",
              "Dice, points alone", "Dice, with map")
    print("| variant | " + " | ".join(titles) + " |")
    for variant in chosen.variants:
        model = trained(variant, images, backbone, chosen)
        rows = measure(model, *tested) + measure(model, *tested[::-1])
        print(f"| {variant} | " + " | ".join(f"{v:.3f}" for v in np.mean(rows, 0)) + " |",
              flush=True)


if __name__ == "__main__":
    main()
