"""Measure the baseline without learning: one middle slice per organ, same patient, registration.

    python Testing/Accuracy/registration_baseline.py [--data ../shared/data] [--only MR|CT]

Prints Dice over the slices that contain the organ ("given") and over all slices ("whole") for
ITK's demons, for the library's own registration, and for the latter with the presence rule that
ends the propagation.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from FewShotSAMLib.data.intensity import intensity_range, normalise  # noqa: E402
from FewShotSAMLib.data.reading import read_labels, read_volume  # noqa: E402
from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.evaluation.protocol import Case, Score, evaluate_same_patient  # noqa: E402
from FewShotSAMLib.evaluation.registration import carry_outwards, simpleitk_fields  # noqa: E402
from FewShotSAMLib.evaluation.tables import build_table  # noqa: E402
from FewShotSAMLib.segmentation.presence import learn_appearance, still_present  # noqa: E402
from FewShotSAMLib.segmentation.registration import NeighbourFields, neighbour_fields  # noqa: E402

MR_ORGANS = {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
CT_ORGANS = MR_ORGANS | {
    5: "bladder", 6: "stomach", 7: "aorta", 8: "left autochthon", 9: "right autochthon",
    10: "left hip", 11: "right hip",
}  # fmt: skip


def mr_cases(data: Path) -> Iterator[Case]:
    """The abdominal MR, by number."""
    paths = (data / "abdomen_mr").glob("image_*.nii.gz")
    for path in sorted(paths, key=lambda p: int(p.name.split("_")[1].split(".")[0])):
        image = read_volume(path, modality="MR")
        labels = read_labels(path.with_name(path.name.replace("image", "label")), like=image)
        yield Case.of(path.name.split(".")[0].replace("image_", "MR "), image, labels)


def ct_case(data: Path) -> Case:
    """The CT of abdomen and pelvis."""
    image = read_volume(data / "abdomen_ct" / "ct.nii.gz", modality="CT")
    labels = read_labels(data / "abdomen_ct" / "label.nii.gz", like=image)
    return Case.of("CT", image, labels)


def grey_slices(case: Case) -> np.ndarray:
    """Normalised axial slices (S, H, W)."""
    return normalise(case.image.voxels, intensity_range(case.image))


def registered(case: Case) -> NeighbourFields:
    """Its slices by the library's own registration."""
    return neighbour_fields(torch.from_numpy(grey_slices(case)))


def segment(
    case: Case, support: Support, *, fields: dict[str, NeighbourFields], stop: bool
) -> np.ndarray:
    """Integer labels (k, j, i); where structures overlap the more probable one wins."""
    slices = grey_slices(case)
    best = np.full(slices.shape, 0.5, np.float32)
    labels = np.zeros(slices.shape, np.uint8)
    for label in support.names:
        index = support.slices_of(label)[0]
        mask = support.masks(label)[support.positions_of(label)[0]]

        goes_on = None
        if stop:
            look = learn_appearance(slices[index][None], mask[None], slices)

            def goes_on(place: int, carried: np.ndarray, look=look) -> bool:  # noqa: ANN001
                return still_present(look, slices[place], carried > 0.5)

        carried = carry_outwards(
            fields[case.name], mask, index, slices=len(slices), goes_on=goes_on
        )
        labels[carried > best] = label
        best = np.maximum(best, carried)
    return labels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", choices=("MR", "CT"))
    chosen = parser.parse_args()
    groups = []
    if chosen.only != "CT":
        groups.append(("MR", list(mr_cases(chosen.data)), MR_ORGANS))
    if chosen.only != "MR":
        groups.append(("CT", [ct_case(chosen.data)], CT_ORGANS))
    for name, cases, organs in groups:
        def itk(case: Case, shrink: int = 2 if name == "MR" else 1) -> NeighbourFields:
            return simpleitk_fields(grey_slices(case), shrink=shrink)

        for title, register in (("ITK demons", itk), ("own demons", registered)):
            start = time.perf_counter()
            fields = {case.name: register(case) for case in cases}
            pairs = sum(len(field.upwards) for field in fields.values())
            seconds = (time.perf_counter() - start) * 35 / pairs
            print(f"\n# {name}, {title}: 36 slices registered both ways in {seconds:.1f} s")
            for stop, together in ((False, False), (True, False), (True, True)):
                if stop and register is itk:
                    continue
                rule = "presence rule" if stop else "never stopping"
                print(f"\n{rule}, {'organs compete' if together else 'each organ by itself'}")
                run = partial(segment, fields=fields, stop=stop)
                sets = [organs] if together else [{label: organs[label]} for label in organs]
                scores = [s for one in sets for s in evaluate_same_patient(cases, one, run)]
                report(scores, four=name == "CT")


def report(scores: list[Score], *, four: bool) -> None:
    """Print both Dice as tables; with `four` also the means of the MR's organs alone."""
    for measure in ("given", "whole"):
        print(f"\n{build_table(scores, measure).to_markdown()}")
    if four:
        scores = [score for score in scores if score.label in MR_ORGANS]
        given, whole = (build_table(scores, measure).mean for measure in ("given", "whole"))
        print(f"\nfirst four organs: given {given:.3f}, whole {whole:.3f}")


if __name__ == "__main__":
    main()
