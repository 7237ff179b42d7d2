"""FoB in the pipeline: the right place whatever its frame, weights that fit, both strategies."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_abdomens import LIVER, SPLEEN, marked, two_patients

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.frames import SliceFrame, WholeSliceFrame
from FewShotSAMLib.data.intensity import intensity_range
from FewShotSAMLib.data.slicing import FieldOfView
from FewShotSAMLib.data.standard import measure_standard
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.models.embedded import load_embedded
from FewShotSAMLib.models.fob import FobModel, embedded_config, save_fob
from FewShotSAMLib.models.fob_choice import FobChoice
from FewShotSAMLib.models.fob_network import FobConfig, FobNetwork
from FewShotSAMLib.models.interfaces import ModelCard
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen
from FewShotSAMLib.prompting.encoded_slices import to_pictures
from FewShotSAMLib.prompting.fob_slices import FobSlices
from FewShotSAMLib.prompting.interfaces import SliceSpace
from FewShotSAMLib.prompting.methods.fob import FobMethod
from FewShotSAMLib.segmentation.encoding import Encoders
from FewShotSAMLib.segmentation.segmenter import Segmenter, load_segmenter

CPU = torch.device("cpu")
FLAT = {"shape": (6, 64, 64), "spacing": (5.2, 5.2, 33.0)}


@pytest.fixture(scope="module")
def patients() -> tuple[Phantom, Phantom]:
    return two_patients(FLAT)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A small FoB that has learnt nothing."""
    path = tmp_path_factory.mktemp("fob") / "fob of mine.safetensors"
    torch.manual_seed(0)
    model, _ = load_embedded(CPU)
    config = embedded_config(model.network.config, modality="MR")
    save_fob(FobNetwork(config), path, {"backbone_sha256": model.card.sha256})
    return path


def tiny_fob(**changes: object) -> FobModel:
    """FoB's published network is large: this one has the embedded backbone and any framing."""
    torch.manual_seed(1)
    model, _ = load_embedded(CPU)
    config = embedded_config(model.network.config, **changes)
    return FobModel(FobNetwork(config), ModelCard("tiny"), CPU, model)


# ----------------------------------------------------------------- the pipeline


@pytest.mark.parametrize("strategy", ["slices", "propagate"])
@pytest.mark.parametrize("method", ["fob", "auto"])
def test_methods_run_through_and_say_what_they_used(patients, weights, method, strategy):
    mine, other = patients
    segmenter = load_segmenter(method=method, fob=str(weights), device="cpu")
    support = marked(mine, LIVER, SPLEEN)
    result = segmenter.segment(other.image, support, strategy=strategy)
    assert result.labels.same_grid(other.image) and result.method == method
    assert result.fob is not None and result.fob.weights == weights.name
    again = load_segmenter(method=method, fob=str(weights), device="cpu")
    assert np.array_equal(
        result.labels.voxels, again.segment(other.image, support, strategy=strategy).labels.voxels
    )
    points = [s.prompts for s in result.slices if s.prompts is not None]
    assert points and all(len(p.negatives) <= 14 for p in points)
    if method == "fob" and strategy == "slices":
        assert all(1 <= len(p.positives) <= 10 for p in points)


def test_prompts_of_a_slice_are_those_of_the_segmentation(patients, weights):
    mine, other = patients
    segmenter = load_segmenter(method="fob", fob=str(weights), device="cpu")
    support = marked(mine, LIVER)
    index = other.marked_slice()
    shown = segmenter.prompts(other.image, support, index)[LIVER]
    result = segmenter.segment(other.image, support, strategy="slices")
    used = next(s.prompts for s in result.slices if s.index == index)
    assert np.allclose(shown.points, used.points, atol=1e-3)
    assert np.array_equal(shown.labels, used.labels)


def test_synpo_needs_no_weights_and_names_none(segmenter, patients):
    mine, _ = patients
    assert segmenter.segment(mine.image, marked(mine, LIVER), range=(2, 3)).fob is None


# ----------------------------------------------------------------- places


@given(
    height=st.integers(20, 300), width=st.integers(20, 300),
    x=st.floats(0.1, 0.9), y=st.floats(0.1, 0.9),
)
@settings(max_examples=50, deadline=None)
def test_a_whole_slice_frame_stretches_both_ways_alike(height, width, x, y):
    frame = WholeSliceFrame((height, width), (1.0, 3.0), FieldOfView((0, 0), 1.0), 256)
    corner = frame.to_model(np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]))
    assert np.allclose(corner, [[-0.5, -0.5], [255.5, 255.5]])
    point = np.array([[x * width, y * height]])
    assert np.allclose(frame.to_slice(frame.to_model(point)), point)
    mask = torch.zeros(1, height, width)
    mask[0, int(y * height), int(x * width)] = 1
    weight = frame.masks_to_model(mask)[0, 0]
    rows, columns = torch.nonzero(weight, as_tuple=True)
    share = weight[rows, columns] / weight.sum()
    centre = [(columns * share).sum().item(), (rows * share).sum().item()]
    expected = frame.to_model(np.array([[int(x * width), int(y * height)]]))[0]
    assert np.allclose(centre, expected, atol=0.51)


@pytest.mark.parametrize("framing", ["slice", "body"])
def test_the_coarse_map_lies_where_the_features_do(framing):
    """Features that are alike in one corner of an uneven slice give a map there, in the region
    of interest's own pixels."""
    shape, spacing = (80, 120), (2.0, 3.5)
    field = FieldOfView((120.0, 140.0), 300.0)
    roi = SliceFrame(shape, spacing, field, 256)
    model = tiny_fob(framing=framing)
    encoders = Encoders(model.backbone, None, CPU)
    volume = abdomen(**FLAT).image
    background = FobSlices(model, encoders.model, SliceSpace(
        "MR", roi, intensity_range(volume), partial(measure_standard, volume), CPU
    ))
    mask = np.zeros(shape, bool)
    mask[50:64, 30:44] = True  # rows, columns
    pictures = to_pictures(np.zeros((1, *shape), np.float32), roi, CPU)
    encoded = background.encode(encoders.encode(pictures), np.zeros((1, *shape), np.float32))
    cover = background.frame.masks_to_model(torch.from_numpy(mask)[None])
    small = torch.nn.functional.interpolate(cover, size=(64, 64), mode="area")
    channels = encoded.extra[0].shape[1]
    features = torch.full((1, channels, 64, 64), -1.0)
    features = torch.where(small > 0.5, torch.ones_like(features), features)
    from dataclasses import replace

    encoded = replace(encoded, extra=(features, torch.full((1, 1), -10.0)))
    prepared = background.prepare(encoded, mask)
    answer = background.answer(encoded, [prepared])
    found = roi.logits_to_slice(answer.coarse[:, None] - 0.5)[0, 0] > 0
    overlap = 2 * (found.numpy() & mask).sum() / (found.numpy().sum() + mask.sum())
    assert overlap > 0.8
    positives = roi.to_slice(answer.prompts[0].positives)
    assert len(positives)
    for x, y in positives:  # to within a cell of the feature map
        assert 29 <= x <= 45 and 49 <= y <= 65
    logits = roi.masks_to_model(torch.from_numpy(mask)[None])[0, 0] - 0.5
    again = background.remember(encoded, logits)
    assert torch.nn.functional.cosine_similarity(
        again.foreground, prepared.foreground, dim=0
    ) > 0.98


# ----------------------------------------------------------------- weights that fit


def test_weights_for_another_modality_are_told_of(patients, weights):
    heard: list[str] = []
    segmenter = load_segmenter(method="fob", fob=str(weights), device="cpu", tell=heard.append)
    mine, _ = patients
    segmenter.prompts(mine.image, marked(mine, LIVER), 2)  # the phantom is MR, as the weights
    assert heard == []
    from dataclasses import replace

    other = replace(mine.image, modality="CT")
    support = Support.from_labels(other, mine.marked(mine.marked_slice()), axis="axial")
    segmenter.prompts(other, support, 2)
    assert len(heard) == 1 and "trained on MR" in heard[0] and "CT" in heard[0]


def test_a_presets_weights_are_chosen_by_modality():
    model, _ = load_embedded(CPU)
    choice = FobChoice("fob", None, model, CPU)
    with pytest.raises(InputError, match="none was trained on RGB"):
        choice.for_modality("RGB")
    for modality, name in (("CT", "fob-ct"), ("MR", "fob-mr")):
        with pytest.raises(InputError, match=f"models download {name}"):
            choice.for_modality(modality)


def test_weights_of_another_embedded_model_are_refused(tmp_path, weights):
    network = FobNetwork(embedded_config())
    path = tmp_path / "old.safetensors"
    save_fob(network, path, {"backbone_sha256": "0" * 64})
    with pytest.raises(InputError, match="another embedded model"):
        mine = abdomen(**FLAT)
        segmenter = load_segmenter(method="fob", fob=str(path), device="cpu")
        segmenter.prompts(mine.image, marked(mine, LIVER), 2)


@pytest.mark.slow
def test_the_published_network_on_whole_slices(patients):
    """Random weights: that pictures, z-scores, features and points of the large network fit."""
    mine, other = patients
    model, matching = load_embedded(CPU)
    torch.manual_seed(0)
    network = FobNetwork(FobConfig(modality="MR"))
    fob = FobModel(network, ModelCard("random"), CPU, precision="fp32")

    def builder(space: SliceSpace) -> FobMethod:
        assert space.modality == "MR"
        return FobMethod(fob, plain.encoders.model, space)

    plain = load_segmenter(device="cpu")
    segmenter = Segmenter(plain.encoders, plain.device, "fob", 0, builder)
    support = replace(marked(mine, LIVER), overview=None)  # points may lie anywhere
    result = segmenter.segment(other.image, support, strategy="slices", range=(2, 2))
    assert result.labels.same_grid(other.image)
    assert all(1 <= len(s.prompts.positives) <= 10 for s in result.slices)
    assert all(len(s.prompts.negatives) in (0, 10) for s in result.slices)
