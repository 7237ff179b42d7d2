"""SAM 2's memory of slices against its package's video predictor, on random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("sam2", reason="needs sam2")

import sam2.sam2_video_predictor as package  # noqa: E402
from sam_parity import pictures  # noqa: E402
from small_networks import sam2_model, small_sam2  # noqa: E402

from FewShotSAMLib.models.interfaces import RememberingModel  # noqa: E402
from FewShotSAMLib.models.sam2 import Sam2Model  # noqa: E402
from FewShotSAMLib.models.sam2_memory import Sam2Memory  # noqa: E402

SIDE, FRAMES = 64, 26
# By object: where it is marked. More frames lie on either side than memory attention looks at.
MARKED = {1: (12,), 2: (4, 20)}
PREDICTOR = {
    "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
    "binarize_mask_from_pts_for_mem_enc": True,  # of `build_sam2_video_predictor`
}


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """(N, 3, S, S) in [0, 1]: one picture turning into another."""
    first, last = (torch.from_numpy(p).permute(2, 0, 1) / 255 for p in pictures(2, SIDE))
    return torch.stack([torch.lerp(first, last, n / FRAMES) for n in range(FRAMES)])


def mask(label: int, frame: int) -> torch.Tensor:
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inside[10 * label : 10 * label + 20, 5 + frame : 30 + frame] = True
    return inside


def there(network: torch.nn.Module, more: float = 5.0) -> torch.nn.Module:
    """Random weights say of no frame that an object is there; with 5 more on the score, of all."""
    with torch.no_grad():
        network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += more
    return network


def by_package(
    frames: torch.Tensor, step: int, more: float, monkeypatch: pytest.MonkeyPatch
) -> dict[tuple[int, int], dict]:
    """The package's outputs by object and frame, in one direction."""
    predictor = there(small_sam2(SIDE, **PREDICTOR), more)
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    ready = (frames - mean) / deviation
    # Only the reading of a video's files is not the package's own.
    monkeypatch.setattr(package, "load_video_frames", lambda **_: (ready, SIDE, SIDE))
    outputs = {}
    for label, marked in MARKED.items():
        # One state an object: its memories in bfloat16 need a pointer of a frame before in float32.
        state = predictor.init_state("none")
        for frame in marked:
            predictor.add_new_mask(state, frame, label, mask(label, frame))
        start = min(marked) if step > 0 else max(marked)
        list(predictor.propagate_in_video(state, start_frame_idx=start, reverse=step < 0))
        followed = state["output_dict_per_obj"][0]["non_cond_frame_outputs"]
        outputs |= {(label, frame): out for frame, out in followed.items()}
    return outputs


def marked_memory(model: Sam2Model, embeddings, marked: dict) -> Sam2Memory:
    memory = model.slice_memory(FRAMES)
    for label, at in marked.items():
        for frame in at:
            memory.mark(label, frame, embeddings.select(slice(frame, frame + 1)),
                        mask(label, frame))  # fmt: skip
    return memory


@pytest.mark.parametrize(("step", "more"), [(1, 5.0), (-1, 5.0), (1, 0.0)])
def test_equals_the_packages_video_predictor(frames, step, more, monkeypatch):
    expected = by_package(frames, step, more, monkeypatch)
    model = sam2_model(there(small_sam2(SIDE), more))
    assert isinstance(model, RememberingModel)
    embeddings = model.embed(frames)
    memory = marked_memory(model, embeddings, MARKED)
    assert len(expected) > FRAMES
    seen = set()
    for frame in range(FRAMES)[::step]:
        for label in MARKED:
            if (label, frame) not in expected:
                continue
            told = memory.follow(label, frame, embeddings.select(slice(frame, frame + 1)), step)
            out = expected[label, frame]
            torch.testing.assert_close(told.logits, out["pred_masks"][0, 0], atol=1e-4, rtol=1e-4)
            assert told.presence == pytest.approx(float(out["object_score_logits"].sigmoid()),
                                                  abs=1e-5)  # fmt: skip
            assert bool((told.logits > -1000).any()) == (told.presence > 0.5)
            seen.add(told.presence > 0.5)
    assert seen == {more > 0}


def test_directions_and_objects_do_not_disturb_each_other(frames):
    model = sam2_model(small_sam2(SIDE))
    embeddings = model.embed(frames)
    both = marked_memory(model, embeddings, MARKED)
    alone = marked_memory(model, embeddings, {1: MARKED[1]})

    def follow(memory: Sam2Memory, label: int, frame: int, step: int) -> torch.Tensor:
        return memory.follow(label, frame, embeddings.select(slice(frame, frame + 1)), step).logits

    for away in range(1, 5):
        follow(both, 1, 12 - away, -1)
        follow(both, 2, 20 - away, -1)
        assert torch.equal(follow(both, 1, 12 + away, 1), follow(alone, 1, 12 + away, 1))


def test_a_long_volume_keeps_what_attention_looks_at(frames):
    """Six slices' memories and fifteen slices' pointers in each direction, however long it is."""
    model = sam2_model(small_sam2(SIDE))
    one = model.embed(frames[:1])
    memory = model.slice_memory(400)
    memory.mark(1, 100, one, mask(1, 0))
    held = []
    for away in range(1, 60):
        memory.follow(1, 100 + away, one, 1)
        held.append(memory.kept)
    assert memory.reach == 6
    assert held[3] == (4, 4) and held[9] == (6, 10) and set(held[20:]) == {(6, 15)}
    memory.follow(1, 99, one, -1)
    assert memory.kept == (7, 16)


def test_half_precision_stays_near(frames):
    network = there(small_sam2(SIDE))
    told = []
    for precision in ("fp32", "bf16"):
        model = sam2_model(network, precision=precision)
        embeddings = model.embed(frames[:2])
        memory = model.slice_memory(2)
        memory.mark(1, 0, embeddings.select(slice(0, 1)), mask(1, 0))
        told.append(memory.follow(1, 1, embeddings.select(slice(1, 2)), 1))
    assert told[1].logits.dtype == torch.float32
    assert told[0].presence == pytest.approx(told[1].presence, abs=0.05)
    assert np.isfinite(told[1].logits.numpy()).all()
