"""Prompt methods behind one interface: the listed ones, and one that is added."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_abdomens import LIVER, SPLEEN, marked, two_patients

from FewShotSAMLib import read_labels
from FewShotSAMLib.apps.options import add_model_options
from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.writing import write_labels, write_volume
from FewShotSAMLib.prompting.interfaces import (
    BatchedMethod,
    MethodSettings,
    Near,
    PromptMethod,
    Question,
)
from FewShotSAMLib.prompting.mask_parameters import MaskParameters
from FewShotSAMLib.prompting.registry import METHODS, check_method, load_method, trained_methods
from FewShotSAMLib.segmentation.segmenter import load_segmenter
from FewShotSAMLib.segmentation.work import Work

ROOT = Path(__file__).resolve().parents[3]

# The mean of unit features inside the mask, and the place that is most like it as the one point.
TOY = '''"""Method "toy": one point where a slice is most like the marked one."""

import torch
from torch.nn import functional as F

from ..interfaces import Proposal
from ..mask_parameters import MaskParameters
from ..point_prompts import PointPrompts


def load(settings):
    return Toy


class Toy:
    masks = MaskParameters(refine=False)
    card = None

    def __init__(self, space):
        self.space = space

    def encode(self, encoded, stored):
        return encoded

    def prepare(self, encoded, mask, cover):
        features = F.normalize(encoded.features[-1][0].float(), dim=0)
        weight = F.adaptive_avg_pool2d(cover[None, None].float(), features.shape[-2:])[0]
        return (features * weight).sum((1, 2)) / weight.sum()

    def remember(self, encoded, logits):
        return self.prepare(encoded, None, (logits > 0).float())

    def propose(self, encoded, kept, near=None):
        size = self.space.roi.size
        features = F.normalize(encoded.features[-1].float(), dim=1)
        alike = torch.einsum("nchw,c->nhw", features, torch.stack(list(kept)).mean(0))
        maps = F.interpolate(alike[:, None], size=(size, size), mode="bilinear")[:, 0]
        allowed = self.space.valid if near is None else self.space.valid & near.place
        best = maps.masked_fill(~allowed, -1.0).flatten(1).argmax(1).tolist()
        points = [PointPrompts.of([[place % size, place // size]]) for place in best]
        return Proposal(maps, points, maps.flatten(1).amax(1))
'''
LINE = '    "toy": MethodEntry("toy", "A toy", "puts one point"),\n'


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """A copy of the library with one more file, and one more line in the registry."""
    folder = tmp_path_factory.mktemp("a library")
    for name in ("FewShotSAMLib", "Resources/Models"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    prompting = folder / "FewShotSAMLib" / "prompting"
    (prompting / "methods" / "toy.py").write_text(TOY, encoding="utf-8")
    registry = prompting / "registry.py"
    head, start, rest = registry.read_text(encoding="utf-8").partition(
        "METHODS: Mapping[str, MethodEntry] = {\n"
    )
    assert start, "the registry is a dict that takes one more line"
    registry.write_text(head + start + LINE + rest, encoding="utf-8")
    return folder


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "FewShotSAMLib", *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip


@pytest.mark.parametrize("strategy", ["slices", "propagate"])
def test_a_method_is_one_file_and_one_line(library, tmp_path, strategy):
    """Added that way it segments another patient through the command line."""
    mine, other = two_patients()
    write_volume(mine.image, tmp_path / "mine.nii.gz")
    write_volume(other.image, tmp_path / "other.nii.gz")
    write_labels(mine.marked(mine.marked_slice()), tmp_path / "mask.seg.nrrd")
    output = tmp_path / "out.nii.gz"
    done = run(
        library, "segment", tmp_path / "other.nii.gz", "--support-image",
        tmp_path / "mine.nii.gz", "--support-mask", tmp_path / "mask.seg.nrrd", "-o", output,
        "--method", "toy", "--strategy", strategy, "--device", "cpu", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["method"] == "toy" and said["fob"] is None
    voxels, truth = read_labels(output).voxels, other.truth.voxels
    found = voxels == LIVER
    overlap = 2 * (found & (truth == LIVER)).sum() / (found.sum() + (truth == LIVER).sum())
    assert overlap > 0.5, overlap


def test_the_added_method_is_offered_and_takes_no_weights(library):
    done = run(library, "segment", "--help")
    assert "toy puts one point" in " ".join(done.stdout.split())
    done = run(library, "segment", "q", "-o", "o.nrrd", "--method", "magic")
    assert done.returncode == 2 and "toy" in done.stderr


# ----------------------------------------------------------------- the listed methods


@pytest.fixture(scope="module", params=sorted(METHODS))
def work(request) -> Work:
    """Another patient's slices, for each method."""
    mine, other = two_patients()
    segmenter = load_segmenter(method=request.param, device="cpu")
    return segmenter.work(other.image, marked(mine, LIVER, SPLEEN))


def test_every_method_keeps_to_the_interface(work):
    method = work.method
    assert isinstance(method, PromptMethod) and isinstance(method.masks, MaskParameters)
    size = work.frame.size
    for structure in work.structures:
        proposal = method.propose(work.slices.several(range(8)), structure.kept)
        count = len(work.slices.several(range(8)))
        assert proposal.confidence.shape == (count, size, size)
        assert proposal.affinity.shape == (count,) and len(proposal.prompts) == count
        assert torch.isfinite(proposal.affinity).all()
        for prompts in proposal.prompts:
            assert len(prompts.positives)
            assert (prompts.points > -0.5).all() and (prompts.points < size - 0.5).all()


def test_a_slices_proposal_does_not_depend_on_the_batch(work):
    together, alone = (
        [work.method.propose(encoded, structure.kept) for structure in work.structures]
        for encoded in (work.slices.several(range(8)), work.slices.one(3))
    )
    for some, one in zip(together, alone, strict=True):
        assert torch.allclose(some.confidence[3], one.confidence[0], atol=1e-4)
        assert some.affinity[3].item() == pytest.approx(one.affinity[0].item(), abs=1e-3)


def test_near_a_neighbour_positive_points_stay_in_the_place(work):
    """What was remembered takes part in the map, and its place holds the positives."""
    size = work.frame.size
    logits = torch.full((size, size), -8.0)
    logits[100:140, 90:130] = 8.0
    kept = work.method.remember(work.slices.one(3), logits)
    structure = work.structures[0]
    proposals = {
        share: work.method.propose(
            work.slices.one(4), structure.kept, Near(logits > 0, kept, share)
        )
        for share in (0.0, 1.0)
    }
    for proposal in proposals.values():
        x, y = proposal.prompts[0].positives.T
        assert len(x) and (x > 89).all() and (x < 130).all() and (y > 99).all() and (y < 140).all()
    assert not torch.allclose(proposals[0.0].confidence, proposals[1.0].confidence, atol=1e-3)
    first = work.method.propose(work.slices.one(4), structure.kept[:1]).confidence
    if work.method.card is None:  # without FoB the map without a share is the marked slice's own
        assert torch.allclose(proposals[0.0].confidence, first, atol=1e-6)


def test_structures_asked_for_together_are_answered_as_alone(work):
    """Followed ones, one where it may only be, and one that nothing is known of."""
    size = work.frame.size
    logits = torch.full((size, size), -8.0)
    logits[100:140, 90:130] = 8.0
    kept = work.method.remember(work.slices.one(3), logits)
    several = Near(torch.ones(2, size, size, dtype=torch.bool))
    questions = [
        Question(work.slices.one(4), work.structures[0].kept, Near(logits > 0, kept, 0.5)),
        Question(work.slices.several([2, 5]), work.structures[1].kept, several),
        Question(work.slices.one(4), work.structures[1].kept),
    ]
    assert isinstance(work.method, BatchedMethod)
    together = work.method.propose_all(questions)
    for asked, answer in zip(questions, together, strict=True):
        alone = work.method.propose(asked.encoded, asked.kept, asked.near)
        assert torch.equal(answer.confidence, alone.confidence)
        assert torch.equal(answer.affinity, alone.affinity)
        assert len(answer.prompts) == len(alone.prompts) == len(asked.encoded)
        for one, other in zip(answer.prompts, alone.prompts, strict=True):
            assert np.array_equal(one.points, other.points)
            assert np.array_equal(one.labels, other.labels)


def test_the_seed_is_the_spaces(patient):
    points = []
    for seed in (0, 0, 1):
        segmenter = load_segmenter(device="cpu", seed=seed)
        points.append(segmenter.prompts(patient.image, marked(patient, LIVER), 2)[LIVER].points)
    assert np.array_equal(points[0], points[1])
    assert not np.array_equal(points[0], points[2])


def test_names_and_weights_are_checked():
    with pytest.raises(InputError, match="use one of synpo, fob, auto"):
        check_method("magic")
    with pytest.raises(InputError, match="method fob or auto"):
        check_method("synpo", "fob-ct")
    for name in trained_methods():
        check_method(name, "fob-ct")
    assert set(trained_methods()) < set(METHODS)


def test_weights_that_are_not_there_are_refused_on_loading(segmenter):
    settings = MethodSettings(segmenter.encoders.model, torch.device("cpu"), weights="nowhere.pth")
    for name in trained_methods():
        with pytest.raises(InputError, match="neither a file nor known"):
            load_method(name, settings)


def test_the_command_line_offers_the_registrys_methods():
    import argparse

    parser = argparse.ArgumentParser()
    add_model_options(parser)
    assert [parser.parse_args(["--method", name]).method for name in METHODS] == list(METHODS)


def test_negative_areas_make_no_sense():
    assert MaskParameters().mask_index == 0
    with pytest.raises(ValueError, match="minimum_component_area"):
        MaskParameters(minimum_component_area=-1)
