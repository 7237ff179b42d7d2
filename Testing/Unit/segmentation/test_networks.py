"""The pipeline on small SAM, SAM 2 and DINOv2 networks with random weights: that everything fits
together. What such networks find means nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("segment_anything", reason="needs segment-anything")
pytest.importorskip("sam2", reason="needs sam2")
pytest.importorskip("timm", reason="needs timm")

from small_abdomens import LIVER, STRATEGIES, marked, two_patients  # noqa: E402
from small_networks import (  # noqa: E402
    dinov2_features,
    meta_state,
    sam2_model,
    sam_model,
    small_dinov2,
    small_sam,
    small_sam2,
)

from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.models.devices import ChosenDevice, choose_device  # noqa: E402
from FewShotSAMLib.models.embedded import load_embedded  # noqa: E402
from FewShotSAMLib.phantom.abdomen import Phantom  # noqa: E402
from FewShotSAMLib.prompting.interfaces import MethodSettings  # noqa: E402
from FewShotSAMLib.prompting.registry import load_method  # noqa: E402
from FewShotSAMLib.segmentation.encoding import Encoders  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import Segmenter  # noqa: E402

CPU = torch.device("cpu")
FLAT = {"shape": (6, 48, 48), "spacing": (7.0, 7.0, 33.0)}
ONE, FOUR = (LIVER,), (1, 2, 3, 4)


@pytest.fixture(scope="module")
def patients() -> tuple[Phantom, Phantom]:
    return two_patients(FLAT)


@pytest.fixture(scope="module")
def networks() -> dict[str, torch.nn.Module]:
    return {
        "sam": small_sam(256),
        "sam2": small_sam2(256),
        "dinov2": small_dinov2("dinov2-small", meta_state()),  # 4 x 4 cells, SAM's are 16 x 16
    }


def encoders(networks: dict, name: str) -> Encoders:
    """ "sam+dinov2" and the like."""
    model, _, features = name.partition("+")
    own, matching = load_embedded(CPU)
    return Encoders(
        {"sam": sam_model, "sam2": sam2_model}[model](networks[model])
        if model in networks else own,
        {"dinov2": lambda: dinov2_features(networks["dinov2"]), "embedded": lambda: matching,
         "": lambda: None}[features](),
        CPU,
    )  # fmt: skip


def segmenter_of(some: Encoders) -> Segmenter:
    return Segmenter(some, choose_device("cpu"))


def check(result, query: Phantom, support: Support, own: bool) -> None:
    assert result.labels.same_grid(query.image)
    assert result.labels.voxels.dtype == np.uint8
    assert set(np.unique(result.labels.voxels)) <= {0, *support.names}
    worked = {(s.index, s.label) for s in result.slices}
    assert worked == {(k, label) for k in range(6) for label in support.names}
    assert all(0 <= s.score <= 1 and np.isfinite(s.area_mm2) for s in result.slices)
    if own:
        k = query.marked_slice()
        drawn = np.where(np.isin(query.truth.voxels[k], list(support.names)),
                         query.truth.voxels[k], 0)  # fmt: skip
        for label in support.names:
            assert (result.labels.voxels[k] == label)[drawn == label].all()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("name", "labels"),
    [("sam", FOUR), ("sam2", ONE), ("sam+dinov2", ONE), ("sam2+dinov2", FOUR)],
)
def test_both_strategies_run_through(networks, patients, name, labels, strategy):
    mine, other = patients
    support = marked(mine, *labels)
    some = encoders(networks, name)
    for query in (mine, other):
        result = segmenter_of(some).segment(query.image, support, strategy=strategy)
        check(result, query, support, own=query is mine)
        assert result.labels.voxels.any()
        # From drawings at least one of four comes on; what random weights make of the slices where
        # another patient's plan expects the organs need not look like anything next door.
        if strategy == "propagate" and labels == FOUR and query is mine:
            assert any(s.source == "propagated" and s.present for s in result.slices)
        assert result.model is some.model.card and result.device.startswith("cpu (")
        assert result.features is (some.features.card if some.features else None)


@pytest.mark.parametrize("name", ["sam2+embedded", "embedded+dinov2", "embedded"])
def test_foundation_and_shipped_networks_mix(networks, patients, name):
    mine, other = patients
    support = marked(mine)
    result = segmenter_of(encoders(networks, name)).segment(other.image, support, range=(1, 4))
    assert {s.index for s in result.slices} == {1, 2, 3, 4}


@pytest.mark.parametrize("name", ["sam", "sam2+dinov2"])
def test_maps_and_points_live_in_a_square_of_256(networks, patients, name):
    mine, other = patients
    segmenter = segmenter_of(encoders(networks, name))
    work = segmenter.work(other.image, [marked(mine)])
    assert work.frame.size == 256
    proposal = work.method.propose(work.slices.one(3), work.structures[0].kept)
    assert proposal.confidence.shape == (1, 256, 256)
    points = segmenter.prompts(other.image, marked(mine), 3)
    assert sorted(points) == [1, 2, 3, 4]
    for found in points.values():
        assert len(found.positives) > 0
        assert (found.points > -0.5).all() and (found.points < 47.5).all()


@pytest.mark.parametrize(("name", "strategy"), [("sam", "slices"), ("sam2+dinov2", "propagate")])
def test_networks_that_find_nothing(networks, patients, name, strategy):
    """Every logit is zero: no mask anywhere, drawn slices aside."""
    some = encoders(networks, name)
    decoder = getattr(some.model.network, "mask_decoder", None)
    decoder = decoder or some.model.network.sam_mask_decoder
    last = [mlp.layers[-1] for mlp in decoder.output_hypernetworks_mlps]
    kept = [(p, p.clone()) for layer in last for p in layer.parameters()]
    try:
        for p, _ in kept:
            p.zero_()
        mine, other = patients
        result = segmenter_of(some).segment(other.image, marked(mine), strategy=strategy)
        assert not result.labels.voxels.any()
        assert not any(s.present for s in result.slices)
        result = segmenter_of(some).segment(mine.image, marked(mine), strategy="slices")
        assert {s.index for s in result.slices if s.present} == {mine.marked_slice()}
    finally:
        for p, before in kept:
            p.copy_(before)


@pytest.mark.parametrize(("name", "strategy"), [("sam", "propagate"), ("sam2+dinov2", "slices")])
def test_slices_without_anything_on_them(networks, patients, name, strategy):
    mine, other = patients
    voxels = other.image.voxels.copy()
    voxels[[0, 4]] = 0
    query = replace(other.image, voxels=voxels)
    result = segmenter_of(encoders(networks, name)).segment(query, marked(mine), strategy=strategy)
    assert result.labels.voxels.shape == voxels.shape


@pytest.mark.parametrize(("name", "strategy"), [("sam2", "slices"), ("sam+dinov2", "propagate")])
def test_batch_sizes_do_not_change_the_labels(networks, patients, name, strategy):
    mine, other = patients
    found = []
    for slices, prompts in ((1, 3), (8, 64)):
        some = encoders(networks, name)
        some.model.slices_at_once, some.model.prompts_at_once = slices, prompts
        if some.features is not None:
            some.features.slices_at_once = slices
        result = segmenter_of(some).segment(other.image, marked(mine), strategy=strategy)
        found.append(result.labels.voxels)
    assert found[0].any()
    # Other batches round differently; a pixel on an edge may turn.
    assert (found[0] != found[1]).mean() < 0.002


def test_a_network_that_had_to_leave_its_gpu_is_named(networks, patients):
    """Where it runs in the end is in the result, not only where it was to run."""
    gpu = ChosenDevice(torch.device("cuda"), "GPU of a test")
    mine, _ = patients
    result = Segmenter(encoders(networks, "sam"), gpu).segment(
        mine.image, marked(mine, 1), strategy="slices", range=(0, 0)
    )
    assert result.device == "cuda (GPU of a test; for want of memory test on cpu)"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("name", "method"), [("sam", "fob"), ("sam2", "auto"), ("sam", "auto")])
def test_the_shipped_fob_prompts_every_model(networks, patients, name, method, strategy):
    """Its own encoder runs beside the foundation model's, on pictures of another size."""
    mine, other = patients
    support = marked(mine, LIVER)
    some = encoders(networks, name)
    builder = load_method(method, MethodSettings(some.model, CPU, "auto", name, "embedded"))
    result = Segmenter(some, choose_device("cpu"), method, 0, builder).segment(
        other.image, support, strategy=strategy
    )
    check(result, other, support, own=False)
    assert result.fob is not None and result.fob.name == "fob-embedded"
    points = [s.prompts for s in result.slices if s.prompts is not None]
    assert points and any(len(p.negatives) for p in points)
    height, width = other.image.shape[1:]
    for p in points:
        assert (p.points > -1).all() and (p.points < (width, height)).all()
