"""SAM's prompt encoder and mask decoder over prompts of many pictures at once.

SAM 1 and SAM 2 share these modules' structure and names. Their packages decode the prompts of one
picture, each with equally many points; here B prompts of N pictures, with any number of points
each, go through the same modules in one batch. Padding is hidden from attention, so that each
prompt's result is the one its package's predictor gives for it alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .interfaces import PromptBatch


@dataclass(frozen=True, eq=False)
class Tokens:
    """Prompt tokens (B, T, C) and which of them are there: bool (B, T)."""

    values: Tensor
    real: Tensor


def embed_points(encoder: nn.Module, prompts: PromptBatch, *, pad_boxes: bool) -> Tokens:
    """Points and boxes as tokens.

    Half a pixel is added to the coordinates, as the packages' prompt encoders do: with pixel
    centres at integers, (p + 0.5) / S is the place in the picture from 0 to 1. Their predictors
    scale the pixels of a picture of another size by S / size only; who wants just that multiplies
    before calling.

    Args:
        encoder: the package's PromptEncoder.
        pad_boxes: SAM 2 closes the points of every prompt with one "not a point"; SAM 1 only
            where the prompt has no box. A prompt without points and box has none in either.
    """
    points, labels = prompts.points.float().nan_to_num(), prompts.labels
    count = len(prompts)
    absent = encoder.not_a_point_embed.weight
    place = encoder.pe_layer.forward_with_coords
    size = encoder.input_image_size
    kinds = torch.cat([e.weight for e in encoder.point_embeddings])
    values = [place(points + 0.5, size) + kinds[labels.clamp(min=0).long()]]
    real = [labels >= 0]
    wants_pad = real[0].any(1)
    if prompts.boxes is not None:
        boxed = ~torch.isnan(prompts.boxes).any(1)
        corners = prompts.boxes.float().nan_to_num().reshape(count, 2, 2)
        values.append(place(corners + 0.5, size) + kinds[2:4])
        real.append(boxed[:, None].expand(count, 2))
        wants_pad = wants_pad | boxed if pad_boxes else wants_pad & ~boxed
    values.append(absent.expand(count, 1, -1))
    real.append(wants_pad[:, None])
    return Tokens(torch.cat(values, 1), torch.cat(real, 1))


def embed_masks(encoder: nn.Module, masks: Tensor | None) -> Tensor:
    """Mask prompts (B, 1, m, m) -> (B, C, h, w), or (1, C, 1, 1) where nobody has one."""
    none = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    if masks is None:
        return none
    given = ~torch.isnan(masks).flatten(1).all(1)
    size = encoder.mask_input_size
    masks = masks.float().nan_to_num()
    if tuple(masks.shape[-2:]) != tuple(size):
        shrinks = masks.shape[-1] > size[-1]
        masks = F.interpolate(
            masks, size=size, mode="bilinear", align_corners=False, antialias=shrinks
        )
    return torch.where(given[:, None, None, None], encoder.mask_downscaling(masks), none)


def decode_masks(
    decoder: nn.Module,
    pictures: Tensor,
    position: Tensor,
    prompts: Tokens,
    high_resolution: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The three multimask outputs of B prompts.

    Args:
        decoder: the package's MaskDecoder.
        pictures: (B, C, h, w), each prompt's picture embedding with its mask prompt added.
        position: (1, C, h, w), the dense position encoding.
        high_resolution: SAM 2's levels (B, C/8, 4h, 4w) and (B, C/4, 2h, 2w), or None.

    Returns:
        logits (B, 3, 4h, 4w) and predicted overlap (B, 3).
    """
    count, channels, h, w = pictures.shape
    own = [decoder.iou_token.weight, decoder.mask_tokens.weight]
    if getattr(decoder, "pred_obj_scores", False):
        own.insert(0, decoder.obj_score_token.weight)
    before = sum(len(t) for t in own[:-1])  # tokens ahead of the mask tokens
    own_tokens = torch.cat(own).expand(count, -1, -1)
    tokens = torch.cat([own_tokens, prompts.values], 1)
    real = torch.cat([prompts.real.new_ones(own_tokens.shape[:2]), prompts.real], 1)
    tokens, places = two_way(
        decoder.transformer, pictures.flatten(2).mT, position.flatten(2).mT, tokens, real
    )
    map_ = _enlarged(decoder, places.mT.reshape(count, channels, h, w), high_resolution)
    masks = range(1, decoder.num_mask_tokens)  # output 0 is the one of the single-mask mode
    weights = torch.stack(
        [decoder.output_hypernetworks_mlps[i](tokens[:, before + i]) for i in masks], 1
    )
    logits = (weights @ map_.flatten(2)).unflatten(2, map_.shape[-2:])
    return logits, decoder.iou_prediction_head(tokens[:, before - 1])[:, 1:]


def _enlarged(
    decoder: nn.Module, map_: Tensor, high_resolution: tuple[Tensor, Tensor] | None
) -> Tensor:
    """(B, C, h, w) -> (B, C/8, 4h, 4w), with SAM 2's finer levels where it has them."""
    if high_resolution is None:
        return decoder.output_upscaling(map_)
    up2, norm, act, up4, last = decoder.output_upscaling
    fine, middle = high_resolution
    return last(up4(act(norm(up2(map_) + middle))) + fine)


def two_way(
    transformer: nn.Module, places: Tensor, position: Tensor, tokens: Tensor, real: Tensor
) -> tuple[Tensor, Tensor]:
    """The package's TwoWayTransformer with tokens that may be padding.

    Args:
        places: (B, h*w, C) picture; position: (1, h*w, C) its position encoding.
        tokens: (B, T, C); real: bool (B, T), which of them others may see.

    Returns:
        tokens (B, T, C) and places (B, h*w, C).
    """
    seen = real[:, None, None, :]
    queries, keys = tokens, places
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = _attend(layer.self_attn, queries, queries, queries, seen)
        else:
            q = queries + tokens
            queries = queries + _attend(layer.self_attn, q, q, queries, seen)
        queries = layer.norm1(queries)
        found = _attend(
            layer.cross_attn_token_to_image, queries + tokens, keys + position, keys
        )
        queries = layer.norm2(queries + found)
        queries = layer.norm3(queries + layer.mlp(queries))
        found = _attend(
            layer.cross_attn_image_to_token, keys + position, queries + tokens, queries, seen
        )
        keys = layer.norm4(keys + found)
    found = _attend(
        transformer.final_attn_token_to_image, queries + tokens, keys + position, keys
    )
    return transformer.norm_final_attn(queries + found), keys


def _attend(
    layer: nn.Module, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None
) -> Tensor:
    """One of the package's attention layers, (B, Tq, C) and (B, Tk, C), with a key mask."""
    q, k, v = (
        project(x).unflatten(2, (layer.num_heads, -1)).transpose(1, 2)
        for project, x in ((layer.q_proj, q), (layer.k_proj, k), (layer.v_proj, v))
    )
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    return layer.out_proj(found.transpose(1, 2).flatten(2))
