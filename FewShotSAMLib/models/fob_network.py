"""FoB's networks (CVPR 2026): what is learnt of the background-prompt generator.

The modules carry the names of the published checkpoints, so that their 688 tensors load with
`strict=True`. Each one works on a whole batch of queries with one support each; how they follow
one another is in `prompting/fob.py`, where the points are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .fob_config import FobConfig
from .fob_encoders import Block, PyramidEncoder, ResNetEncoder, norm

OFFSETS = 8  # places that the refinement looks at around each point


def attend(
    x: Tensor,
    attention: nn.MultiheadAttention,
    *,
    keys: Tensor | None = None,
    key_bias: Tensor | None = None,
) -> Tensor:
    """One-head attention of (B, L, C) tokens to themselves, or to `keys` (B, M, C), with a bias
    (B, M) for each key.

    The published network adds m_i + m_j to the score of token i for token j; m_i is the same for
    all of a token's keys, so the softmax drops it.
    """
    weights = attention.in_proj_weight.chunk(3)
    biases = attention.in_proj_bias.chunk(3)
    keys = x if keys is None else keys
    q, k, v = (
        F.linear(t, w, b)[:, None] for t, w, b in zip((x, keys, keys), weights, biases, strict=True)
    )
    mask = None
    if key_bias is not None:
        mask = key_bias[:, None, None].to(q.dtype).expand(-1, 1, x.shape[1], -1)
    return attention.out_proj(F.scaled_dot_product_attention(q, k, v, attn_mask=mask)[:, 0])


def sinusoid(count: int, channels: int) -> Tensor:
    """Position codes (count, channels): sines in even, cosines in odd channels."""
    here = torch.device("cpu")  # on PyTorch's "meta" device `arange` would load its compiler
    place = torch.arange(count, device=here)[:, None]
    rate = torch.exp(torch.arange(0, channels, 2, device=here) * (-math.log(10000.0) / channels))
    code = torch.zeros(count, channels, device=here)
    code[:, 0::2] = torch.sin(place * rate)
    code[:, 1::2] = torch.cos(place * rate)
    return code


class PromptMatching(nn.Module):
    """How each place of the query fits each background prototype: Phi (methods, section 2.6)."""

    def __init__(self, c: FobConfig) -> None:
        super().__init__()
        n = c.channels
        self.support_proj = nn.Linear(n, n)
        self.query_proj = nn.Linear(n, n)
        self.self_update_proj = nn.Sequential(nn.Linear(n, 2 * n), nn.ReLU(), nn.Linear(2 * n, n))

    def forward(self, query: Tensor, prototypes: Tensor) -> Tensor:
        """(B, L, C) and (B, K, C) -> (B, K, L)."""
        support = self.support_proj(prototypes)
        support = (1 + torch.tanh(self.self_update_proj(support))) * support
        return support @ self.query_proj(query).transpose(1, 2)


class Neck(nn.Module):
    """Tells each place what lies around it: suppressed features and the cosine to the foreground,
    at half the resolution.

    As published, a place knows of its surroundings only what the encoder saw without knowing what
    is looked for, and what the attention brings: enough with weeks of a GPU, not for a small one.
    """

    def __init__(self, c: FobConfig) -> None:
        super().__init__()
        n = c.channels
        self.enter = nn.Sequential(nn.Conv2d(n + 1, n, 3, 2, 1), norm(n), nn.ReLU())
        self.blocks = nn.Sequential(*(Block(n, 2**d) for d in range(c.neck)))
        self.leave = nn.Conv2d(n, n, 1)

    def forward(self, query: Tensor, alike: Tensor) -> Tensor:
        """Features (B, C, h, w) and the cosine (B, h, w) -> (B, C, h, w)."""
        x = self.leave(self.blocks(self.enter(torch.cat([query, alike[:, None]], 1))))
        size = query.shape[-2:]
        return query + F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class MaskedAttention(nn.Module):
    """Background-centric context: the query's places see one another, drawn to where the
    background prototypes fit (methods, section 2.6)."""

    def __init__(self, c: FobConfig) -> None:
        super().__init__()
        n = c.channels
        self.mha = nn.MultiheadAttention(n, 1, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(n), nn.LayerNorm(n)
        self.ffn = nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n))
        self.matching_head = PromptMatching(c)
        self.conv = nn.Conv2d(c.points, 1, 1)
        self.key_stride = c.key_stride
        self.learnable_pos = nn.Parameter(torch.randn(1, n, c.grid, c.grid))
        self.register_buffer("order", sinusoid(c.points, n), persistent=False)

    def forward(self, query: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
        """Suppressed features (B, C, h, w) and prototypes (B, K, C) -> context (B, C, h, w) and
        Phi (B, K, h, w)."""
        b, _, h, w = query.shape
        placed = query + self.learnable_pos
        x = placed.flatten(2).transpose(1, 2)
        fit = self.matching_head(x, prototypes + self.order).unflatten(2, (h, w))
        bias = F.relu(self.conv(fit))
        keys = None
        if self.key_stride > 1:
            bias, placed = (F.avg_pool2d(t, self.key_stride) for t in (bias, placed))
            keys = placed.flatten(2).transpose(1, 2)
        x = self.norm1(x + attend(x, self.mha, keys=keys, key_bias=bias.flatten(1)))
        x = self.norm2(x + self.ffn(x))
        return x.transpose(1, 2).unflatten(2, (h, w)), fit


class Head(nn.Module):
    """Context -> one map for each background point, at feature resolution (methods, 2.7)."""

    def __init__(self, c: FobConfig) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Conv2d(c.channels, c.channels, 1),
            nn.InstanceNorm2d(c.channels, affine=True),
            nn.ReLU(),
            nn.Conv2d(c.channels, c.points, 1),
        )

    def forward(self, context: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, K, h, w)."""
        return self.head(context)


class PromptGraph(nn.Module):
    """Exchange between the points, by likeness of the support's prototypes and along the ring
    (methods, graph part of SPR)."""

    def __init__(self, c: FobConfig) -> None:
        super().__init__()
        n, k = c.channels, c.points
        self.W_theta, self.W_phi = nn.Linear(n, n), nn.Linear(n, n)
        self.W = nn.Linear(n, n, bias=False)
        self.mlp_mod = nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n))
        self.alpha = nn.Parameter(torch.tensor(0.5))
        eye = torch.eye(k)
        self.register_buffer("ring", eye.roll(1, 0) + eye.roll(-1, 0), persistent=False)

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """(B, K, C) prototypes of both -> (B, K, C)."""
        alike = self.W_theta(support) @ self.W_phi(support).transpose(1, 2)
        alike = (alike / math.sqrt(support.shape[-1])).softmax(-1)
        alpha = self.alpha.clamp(0, 1)
        graph = alpha * alike + (1 - alpha) * self.ring
        graph = graph / graph.sum(-1, keepdim=True)
        return F.relu(graph @ (self.mlp_mod(query).sigmoid() * self.W(query)))


class DeformableStep(nn.Module):
    """Looks at eight places around each point and moves it (methods, section 2.8)."""

    def __init__(self, c: FobConfig) -> None:
        super().__init__()
        n = c.channels
        self.normalised = c.refinement == "repaired"
        self.side = c.image_size
        self.offset_pred = nn.Linear(2 * n, 2 * OFFSETS)
        self.scale_mod = nn.Sequential(nn.Linear(2 * n, n), nn.ReLU(), nn.Linear(n, 1))
        self.attn_weight = nn.Linear(n, OFFSETS)

    def forward(
        self, query: Tensor, points: Tensor, support: Tensor, features: Tensor, graph: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sampled features (B, K, C) and moved points (B, K, 2), pixels of the picture."""
        offset = self.offset_pred(torch.cat([query, graph], -1)).unflatten(-1, (OFFSETS, 2))
        scale = 2 * self.scale_mod(torch.cat([query, support], -1)).sigmoid()
        places = points[:, :, None] + scale[..., None] * offset  # (B, K, 8, 2)
        unit = places / (self.side - 1) if self.normalised else places
        seen = F.grid_sample(features, unit * 2 - 1, mode="bilinear", align_corners=True)
        weight = self.attn_weight(query).softmax(-1)
        feature = torch.einsum("bcko,bko->bkc", seen, weight)
        return feature, (places * weight[..., None]).sum(2)


class Refinement(nn.Module):
    """Structure-guided prompt refinement (SPR): three steps (methods, section 2.8)."""

    steps = 3

    def __init__(self, c: FobConfig) -> None:
        super().__init__()
        n = c.channels
        self.gcn = PromptGraph(c)
        self.self_attn = nn.MultiheadAttention(n, 1, batch_first=True)
        self.deform_attn = DeformableStep(c)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(n) for _ in range(3))

    def forward(self, query: Tensor, points: Tensor, support: Tensor, features: Tensor) -> Tensor:
        """Query and support prototypes (B, K, C), points (B, K, 2), query features (B, C, h, w)
        -> moved points (B, K, 2)."""
        graph = self.gcn(query, support)
        x = self.norm1(query + graph)
        x = self.norm2(x + attend(x, self.self_attn))
        for _ in range(self.steps):
            seen, points = self.deform_attn(x, points, support, features, graph)
            x = self.norm3(x + seen)
        return points


class FobNetwork(nn.Module):
    """All of FoB's weights. With the default sizes: the published 688 tensors."""

    def __init__(self, config: FobConfig | None = None) -> None:
        super().__init__()
        c = self.config = config or FobConfig()
        self.encoder = ResNetEncoder(c) if c.backbone == "resnet101" else PyramidEncoder(c)
        if c.neck:
            self.neck = Neck(c)
        self.head = Head(c)
        self.masked_attention = MaskedAttention(c)
        # Of the coarse map, in training: background counts a tenth.
        self.nllloss = nn.NLLLoss(weight=torch.tensor([0.1, 1.0]))
        if c.refinement != "none":
            self.refine = Refinement(c)
        if c.backbone == "embedded":  # maps start near their targets, which are mostly zero
            nn.init.zeros_(self.head.head[-1].weight)
            with torch.no_grad():
                places = self.masked_attention.learnable_pos
                places.copy_(torch.randn(places.shape)).mul_(0.1)
                self.masked_attention.matching_head.support_proj.weight.mul_(0.02)
