"""SAM 2's memory of the slices before: its video predictor's way, on embeddings that are there.

SAM 2 (Ravi et al., arXiv 2408.00714, section 4) segments a frame with what it remembers of marked
frames and of the last few: spatial memories (masks and pictures, encoded) and object pointers (the
decoder's tokens), which memory attention reads before the mask is decoded. On volumes it is used
slice by slice in FS-MedSAM2 (arXiv 2409.04298) and FATE-SAM (arXiv 2501.09138).

Everything is computed by the package's `SAM2Base`, as its `SAM2VideoPredictor` does it (with the
options of `build_sam2_video_predictor`, but for the filling of holes, which needs a CUDA
extension), object by object. Here no video file is wanted and the pictures are not encoded again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .interfaces import Embeddings, Remembered
from .memory import BatchRunner
from .precision import autocast

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

_BINARY = 100.0  # a logit whose sigmoid is 0 or 1 in float32


@dataclass(frozen=True, eq=False)
class _Kept:
    """Of one object in one frame: spatial memory (1, C', h, w), or None where it is not looked at
    any more, and object pointer (1, C)."""

    features: Tensor | None
    pointer: Tensor


class Sam2Memory:
    """What SAM 2 remembers of the slices of one volume, object by object.

    Marked slices are kept. Of the others, each direction keeps what memory attention still looks
    at: six slices' memories and fifteen slices' pointers, with the published configuration. The two
    directions of an object share its marked slices only, so that neither comes first.

    Args:
        network: the package's; runner: where it computes; dtype: of its products.
        slices: how many the volume has.
    """

    def __init__(
        self, network: SAM2Base, runner: BatchRunner, dtype: torch.dtype, slices: int
    ) -> None:
        self._network, self._runner, self._dtype, self._slices = network, runner, dtype, slices
        self._marked: dict[int, dict[int, _Kept]] = {}
        self._passed: dict[tuple[int, int], dict[int, _Kept]] = {}  # by object and step

    @property
    def reach(self) -> int:
        """Slices behind that spatial memories are looked at."""
        stride = self._network.memory_temporal_stride_for_eval
        return (self._network.num_maskmem - 2) * stride + 1

    @property
    def kept(self) -> tuple[int, int]:
        """How many spatial memories and pointers are held of slices that are not marked."""
        every = [one for passed in self._passed.values() for one in passed.values()]
        return sum(one.features is not None for one in every), len(every)

    @torch.inference_mode()
    def mark(self, label: int, index: int, embeddings: Embeddings, mask: Tensor) -> None:
        """A slice where the object's mask is known.

        Args:
            embeddings: that slice's alone; mask: (S, S) bool at the network's input size.
        """

        def forward(inside: Tensor, *levels: Tensor) -> tuple[Tensor, ...]:
            known = {"is_init_cond_frame": True, "mask_inputs": inside, "run_mem_encoder": False}
            out = self._track(index, levels, {}, known)
            whole = F.interpolate(
                out["pred_masks"], inside.shape[-2:], mode="bilinear", align_corners=False
            )
            with autocast(self._runner.device, self._dtype):
                features, _ = self._network._encode_new_memory(
                    current_vision_feats=_flat(levels), feat_sizes=_sizes(levels),
                    # The video predictor's `binarize_mask_from_pts_for_mem_enc`.
                    pred_masks_high_res=torch.where(whole > 0, _BINARY, -_BINARY),
                    object_score_logits=out["object_score_logits"], is_mask_from_pts=True,
                )
            return features.bfloat16(), out["obj_ptr"]

        features, pointer = self._run(forward, mask[None, None].float(), embeddings)
        self._marked.setdefault(label, {})[index] = _Kept(features, pointer)

    @torch.inference_mode()
    def follow(self, label: int, index: int, embeddings: Embeddings, step: int) -> Remembered:
        """A slice where it is not known, by what is remembered of those before in the direction of
        `step` (1 or -1).

        Args:
            label: an object that was marked somewhere.
            embeddings: that slice's alone.
        """
        passed = self._passed.setdefault((label, step), {})

        def forward(_: Tensor, *levels: Tensor) -> tuple[Tensor, ...]:
            bank = self._bank(self._marked[label], passed, levels)
            known = {"is_init_cond_frame": False, "mask_inputs": None, "run_mem_encoder": True}
            out = self._track(index, levels, bank, known | {"track_in_reverse": step < 0})
            return (
                out["pred_masks"].float(), out["object_score_logits"].float(),
                out["maskmem_features"].bfloat16(), out["obj_ptr"],
            )

        nothing = torch.zeros(1, device=embeddings.features.device)
        logits, score, features, pointer = self._run(forward, nothing, embeddings)
        passed[index] = _Kept(features, pointer)
        self._forget(passed, index, step)
        return Remembered(logits[0, 0], float(score.sigmoid()))

    def _forget(self, passed: dict[int, _Kept], index: int, step: int) -> None:
        """Releases what the next slice in that direction does not look at."""
        pointers = self._network.max_obj_ptrs_in_encoder - 1
        for at in list(passed):
            behind = (index + step - at) * step
            if behind > max(self.reach, pointers):
                del passed[at]
            elif behind > self.reach:
                passed[at] = replace(passed[at], features=None)

    def _run(self, forward: Any, first: Tensor, embeddings: Embeddings) -> tuple[Tensor, ...]:
        """In the runner's hands, which moves to the CPU when memory runs out and that is allowed.
        Levels go from fine to coarse."""
        levels = (*embeddings.extra, embeddings.features)
        return self._runner.run("objects", 1, forward, first, *levels)

    def _track(
        self, index: int, levels: tuple[Tensor, ...], bank: dict, known: dict
    ) -> dict[str, Tensor]:
        """The package's step on one frame."""
        place = _place(self._network.image_encoder.neck, levels[-1])
        with autocast(self._runner.device, self._dtype):
            return self._network.track_step(
                frame_idx=index, current_vision_feats=_flat(levels),
                # Only the coarsest level's is read.
                current_vision_pos_embeds=_flat((place,)), feat_sizes=_sizes(levels),
                point_inputs=None, output_dict=bank, num_frames=self._slices, **known,
            )

    def _bank(
        self, marked: dict[int, _Kept], passed: dict[int, _Kept], levels: tuple[Tensor, ...]
    ) -> dict[str, dict[int, dict]]:
        """What is remembered, as the package's `output_dict`."""
        device = levels[-1].device

        def entry(kept: _Kept) -> dict[str, Any]:
            features = None if kept.features is None else kept.features.to(device)
            place = None if features is None else [_place(self._network.memory_encoder, features)]
            return {
                "maskmem_features": features, "maskmem_pos_enc": place,
                "obj_ptr": kept.pointer.to(device),
            }

        return {
            "cond_frame_outputs": {at: entry(kept) for at, kept in marked.items()},
            "non_cond_frame_outputs": {at: entry(kept) for at, kept in passed.items()},
        }


def _flat(levels: tuple[Tensor, ...]) -> list[Tensor]:
    """(1, C, h, w) -> (h * w, 1, C), as the package takes them."""
    return [level.flatten(2).permute(2, 0, 1) for level in levels]


def _place(owner: nn.Module, map_: Tensor) -> Tensor:
    """The position encoding (1, C, h, w) of a map, which depends on its size alone; the package
    keeps it on the device where it was first asked for."""
    return owner.position_encoding(map_).to(map_.device, torch.float32)


def _sizes(levels: tuple[Tensor, ...]) -> list[tuple[int, int]]:
    return [tuple(level.shape[-2:]) for level in levels]
