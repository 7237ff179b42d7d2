"""FoB evaluated as it is described, step by step and slowly, to compare the product with.

Nothing here uses the library: the weights are a plain state dict, the steps are loops over points,
pixels and places, features are enlarged to the picture's size, the attention has its whole bias
matrix. Arrays are (row, column), points (x, y) in pixels of the S x S picture. Tensors keep the
type that they come in; float64 gives reference values.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

OUTER, INNER = 21, 15
SIGMA, WINDOW = 4.0, 25
STEPS, OFFSETS = 3, 8

# The tensors of a published checkpoint other than torchvision's ResNet-101, name and shape.
_LINEAR = (512, 512)
OFFICIAL = {
    "encoder.reduce1.weight": (512, 1024, 1, 1),
    "encoder.reduce2.weight": (512, 2048, 1, 1),
    "encoder.reduce1d.weight": (1, 1000),
    "encoder.reduce1d.bias": (1,),
    "head.head.0.weight": (512, 512, 1, 1),
    "head.head.0.bias": (512,),
    "head.head.1.weight": (512,),
    "head.head.1.bias": (512,),
    "head.head.3.weight": (10, 512, 1, 1),
    "head.head.3.bias": (10,),
    "masked_attention.learnable_pos": (1, 512, 64, 64),
    "masked_attention.mha.in_proj_weight": (1536, 512),
    "masked_attention.mha.in_proj_bias": (1536,),
    "masked_attention.mha.out_proj.weight": _LINEAR,
    "masked_attention.mha.out_proj.bias": (512,),
    "masked_attention.norm1.weight": (512,),
    "masked_attention.norm1.bias": (512,),
    "masked_attention.norm2.weight": (512,),
    "masked_attention.norm2.bias": (512,),
    "masked_attention.ffn.0.weight": _LINEAR,
    "masked_attention.ffn.0.bias": (512,),
    "masked_attention.ffn.2.weight": _LINEAR,
    "masked_attention.ffn.2.bias": (512,),
    "masked_attention.matching_head.support_proj.weight": _LINEAR,
    "masked_attention.matching_head.support_proj.bias": (512,),
    "masked_attention.matching_head.query_proj.weight": _LINEAR,
    "masked_attention.matching_head.query_proj.bias": (512,),
    "masked_attention.matching_head.self_update_proj.0.weight": (1024, 512),
    "masked_attention.matching_head.self_update_proj.0.bias": (1024,),
    "masked_attention.matching_head.self_update_proj.2.weight": (512, 1024),
    "masked_attention.matching_head.self_update_proj.2.bias": (512,),
    "masked_attention.conv.weight": (1, 10, 1, 1),
    "masked_attention.conv.bias": (1,),
    "nllloss.weight": (2,),
    "refine.gcn.alpha": (),
    "refine.gcn.W_theta.weight": _LINEAR,
    "refine.gcn.W_theta.bias": (512,),
    "refine.gcn.W_phi.weight": _LINEAR,
    "refine.gcn.W_phi.bias": (512,),
    "refine.gcn.W.weight": _LINEAR,
    "refine.gcn.mlp_mod.0.weight": _LINEAR,
    "refine.gcn.mlp_mod.0.bias": (512,),
    "refine.gcn.mlp_mod.2.weight": _LINEAR,
    "refine.gcn.mlp_mod.2.bias": (512,),
    "refine.self_attn.in_proj_weight": (1536, 512),
    "refine.self_attn.in_proj_bias": (1536,),
    "refine.self_attn.out_proj.weight": _LINEAR,
    "refine.self_attn.out_proj.bias": (512,),
    "refine.norm1.weight": (512,),
    "refine.norm1.bias": (512,),
    "refine.norm2.weight": (512,),
    "refine.norm2.bias": (512,),
    "refine.norm3.weight": (512,),
    "refine.norm3.bias": (512,),
    "refine.deform_attn.offset_pred.weight": (16, 1024),
    "refine.deform_attn.offset_pred.bias": (16,),
    "refine.deform_attn.scale_mod.0.weight": (512, 1024),
    "refine.deform_attn.scale_mod.0.bias": (512,),
    "refine.deform_attn.scale_mod.2.weight": (1, 512),
    "refine.deform_attn.scale_mod.2.bias": (1,),
    "refine.deform_attn.attn_weight.weight": (8, 512),
    "refine.deform_attn.attn_weight.bias": (8,),
}


def random_values(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a size that keeps activations moderate and every branch alive.

    A tensor's values depend on its name, not on which others there are.
    """
    state = {}
    for name, shape in shapes.items():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)
        value = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            value = torch.tensor(7)
        elif name.endswith("running_var"):
            value = 0.5 + value.abs()
        elif name == "nllloss.weight":
            value = torch.tensor([0.1, 1.0])
        elif name.endswith("gcn.alpha"):
            value = torch.tensor(0.3)
        elif len(shape) == 1 and name.endswith("weight"):
            value = (0.3 if ".bn3." in name else 1.0) + 0.1 * value  # a norm's gain
        elif name.endswith("reduce1d.bias"):
            value = torch.tensor([-17.0])  # half at a cosine of 0.85: random features are alike
        elif name.startswith("encoder.reduce1d") or ".fc." in name:
            value = 0.2 * value / math.sqrt(shape[-1])
        elif name.endswith("learnable_pos"):
            value = 0.5 * value
        elif name.endswith("matching_head.support_proj.weight"):
            value = 0.1 * value / math.sqrt(shape[1])
        elif len(shape) >= 2:
            value = value * math.sqrt((2 if len(shape) == 4 else 1) / math.prod(shape[1:]))
        else:
            value = 0.1 * value
        state[name] = value
    return state


def official_state(seed: int = 0) -> dict[str, Tensor]:
    """Random weights in the layout of the published checkpoints."""
    from torchvision.models import resnet101

    with torch.device("meta"):
        backbone = resnet101(weights=None).state_dict()
    shapes = {f"encoder.backbone.{name}": tuple(t.shape) for name, t in backbone.items()}
    return random_values(shapes | OFFICIAL, seed)


# --- Around the support's mask -------------------------------------------------------------------


def max_pool(mask: np.ndarray, side: int) -> np.ndarray:
    """Each pixel becomes the largest value of the square of `side` pixels around it."""
    reach = side // 2
    result = np.zeros(mask.shape)
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            result[row, column] = mask[
                max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1
            ].max()
    return result


def ring(mask: np.ndarray) -> np.ndarray:
    return max_pool(mask, OUTER) - max_pool(mask, INNER)


def outer_contour(band: np.ndarray) -> np.ndarray | None:
    """Vertices (V, 2), (x, y), of the outer contour of largest area."""
    contours, _ = cv2.findContours(
        (band > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return max(contours, key=cv2.contourArea)[:, 0] if contours else None


def equal_arc_points(vertices: np.ndarray, count: int) -> np.ndarray:
    """Points at linspace(0, L, count) along a contour that is not closed."""
    lengths = [math.dist(a, b) for a, b in zip(vertices, vertices[1:])]
    points = []
    for wanted in np.linspace(0, sum(lengths), count):
        place = tuple(map(float, vertices[-1]))
        walked = 0.0
        for (x0, y0), (x1, y1), length in zip(vertices, vertices[1:], lengths):
            if wanted <= walked + length:
                share = (wanted - walked) / length
                place = (x0 + share * (x1 - x0), y0 + share * (y1 - y0))
                break
            walked += length
        points.append([round(place[0]), round(place[1])])
    return np.array(points)


def angle_order(points: np.ndarray) -> list[int]:
    """Indices of the points by their angle about the leftmost one, which is at 0 itself."""
    left = min(range(len(points)), key=lambda n: points[n][0])
    x0, y0 = points[left]
    return sorted(range(len(points)), key=lambda n: math.atan2(
        float(points[n][1] - y0), float(points[n][0] - x0)))


def support_points(mask: np.ndarray, count: int) -> np.ndarray | None:
    """(count, 2) background points in order; None where there is no ring."""
    vertices = outer_contour(ring(mask))
    if vertices is None:
        return None
    points = equal_arc_points(vertices, count)
    return points[angle_order(points)]


# --- Prototypes ----------------------------------------------------------------------------------


def heat_map(point: np.ndarray, side: int) -> np.ndarray:
    """A Gaussian of deviation 4 in a window of 25 x 25 pixels, 1 at the point."""
    result = np.zeros((side, side))
    px, py = (math.floor(float(v) + 0.5) for v in point)
    if not (0 <= px < side and 0 <= py < side):
        return result
    reach = WINDOW // 2
    for y in range(max(0, py - reach), min(side, py + reach + 1)):
        for x in range(max(0, px - reach), min(side, px + reach + 1)):
            result[y, x] = math.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * SIGMA**2))
    return result


def enlarged(features: Tensor, side: int) -> Tensor:
    """(C, h, w) -> (C, side, side), bilinear, corners not aligned."""
    return F.interpolate(features[None], size=(side, side), mode="bilinear", align_corners=False)[0]


def prototype(large: Tensor, weights: np.ndarray) -> Tensor:
    """Mean of enlarged features (C, S, S) under a map (S, S): (C,)."""
    h = torch.from_numpy(weights).to(large)
    return (large * h).sum((1, 2)) / (h.sum() + 1e-5)


def point_prototypes(features: Tensor, points: np.ndarray, side: int) -> Tensor:
    """(C, h, w) and (K, 2) -> (K, C)."""
    large = enlarged(features, side)
    return torch.stack([prototype(large, heat_map(p, side)) for p in points])


# --- The networks --------------------------------------------------------------------------------


def linear(x: Tensor, w: Mapping[str, Tensor], name: str) -> Tensor:
    result = x @ w[f"{name}.weight"].T
    return result + w[f"{name}.bias"] if f"{name}.bias" in w else result


def layer_norm(x: Tensor, w: Mapping[str, Tensor], name: str) -> Tensor:
    away = x - x.mean(-1, keepdim=True)
    spread = (away**2).mean(-1, keepdim=True)
    return away / torch.sqrt(spread + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def attention(x: Tensor, w: Mapping[str, Tensor], name: str, bias: Tensor | None = None) -> Tensor:
    """One head, (L, C) tokens to themselves, a bias (L, L) added to the scores."""
    q, k, v = (
        x @ a.T + b
        for a, b in zip(w[f"{name}.in_proj_weight"].chunk(3), w[f"{name}.in_proj_bias"].chunk(3))
    )
    scores = q @ k.T / math.sqrt(x.shape[1])
    if bias is not None:
        scores = scores + bias
    return linear(scores.softmax(1) @ v, w, f"{name}.out_proj")


def conv1x1(x: Tensor, w: Mapping[str, Tensor], name: str) -> Tensor:
    """(C, h, w) -> (D, h, w)."""
    kernel = w[f"{name}.weight"][:, :, 0, 0]
    return (kernel @ x.flatten(1) + w[f"{name}.bias"][:, None]).unflatten(1, x.shape[1:])


def cosine_map(features: Tensor, prototype: Tensor) -> Tensor:
    """(C, h, w), (C,) -> (h, w)."""
    result = features.new_zeros(features.shape[1:])
    for row in range(features.shape[1]):
        for column in range(features.shape[2]):
            q = features[:, row, column]
            result[row, column] = q @ prototype / (q.norm() * prototype.norm())
    return result


def coarse_map(alike: Tensor, threshold: float, side: int) -> Tensor:
    """(h, w) -> (S, S)."""
    small = 1 / (1 + torch.exp(-(10 * alike + threshold / 2)))
    return F.interpolate(small[None, None], (side, side), mode="bilinear", align_corners=True)[0, 0]


def sinusoid(count: int, channels: int) -> Tensor:
    code = torch.zeros(count, channels, dtype=torch.float64)
    for place in range(count):
        for pair in range(0, channels, 2):
            angle = place / 10000 ** (pair / channels)
            code[place, pair], code[place, pair + 1] = math.sin(angle), math.cos(angle)
    return code


def context(
    suppressed: Tensor, prototypes: Tensor, w: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """(C, h, w) and (K, C) -> context (C, h, w) and Phi (K, h, w)."""
    name = "masked_attention"
    size = suppressed.shape[1:]
    x = (suppressed + w[f"{name}.learnable_pos"][0]).flatten(1).T
    s = prototypes + sinusoid(*prototypes.shape).to(prototypes)
    s = linear(s, w, f"{name}.matching_head.support_proj")
    update = linear(s, w, f"{name}.matching_head.self_update_proj.0").relu()
    s = (1 + torch.tanh(linear(update, w, f"{name}.matching_head.self_update_proj.2"))) * s
    phi = (linear(x, w, f"{name}.matching_head.query_proj") @ s.T).T
    m = conv1x1(phi.unflatten(1, size), w, f"{name}.conv").flatten().relu()
    x = layer_norm(x + attention(x, w, f"{name}.mha", m[:, None] + m[None, :]), w, f"{name}.norm1")
    ffn = linear(linear(x, w, f"{name}.ffn.0").relu(), w, f"{name}.ffn.2")
    x = layer_norm(x + ffn, w, f"{name}.norm2")
    return x.T.unflatten(1, size), phi.unflatten(1, size)


def head(x: Tensor, w: Mapping[str, Tensor], side: int) -> Tensor:
    """Context (C, h, w) -> heat maps (K, S, S)."""
    x = conv1x1(x, w, "head.head.0")
    away = x - x.mean((1, 2), keepdim=True)
    x = away / torch.sqrt((away**2).mean((1, 2), keepdim=True) + 1e-5)
    x = x * w["head.head.1.weight"][:, None, None] + w["head.head.1.bias"][:, None, None]
    return enlarged(conv1x1(x.relu(), w, "head.head.3"), side)


def highest(maps: Tensor) -> np.ndarray:
    """(K, S, S) -> (K, 2), (0, 0) where a map is nowhere above 0."""
    points = []
    for one in maps.numpy():
        row, column = np.unravel_index(np.argmax(one), one.shape)
        points.append((column, row) if one[row, column] > 0 else (0, 0))
    return np.array(points)


def same_places(found: np.ndarray, maps: Tensor) -> bool:
    """Whether points (K, 2) are the highest pixels of (K, S, S) maps.

    Enlarged maps are flat within half a cell of the picture's edge. Which pixel of a flat top is
    the highest is a matter of rounding: there any of them will do.
    """
    for point, one, exact in zip(found, maps, highest(maps)):
        top = float(one.max())
        tie = abs(float(one[int(point[1]), int(point[0])]) - top) <= 1e-9 * abs(top)
        if not (np.array_equal(point, exact) or (top > 0 and tie)):
            return False
    return True


# --- Refinement ----------------------------------------------------------------------------------


def sample(features: Tensor, u: float, v: float) -> Tensor:
    """Features (C, h, w) at (u, v), 0 and 1 being the middles of the outermost cells; 0 outside."""
    channels, height, width = features.shape
    x, y = u * (width - 1), v * (height - 1)
    result = features.new_zeros(channels)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(x - column)) * (1 - abs(y - row))
                result = result + share * features[:, row, column]
    return result


def graph(q: Tensor, s: Tensor, w: Mapping[str, Tensor]) -> Tensor:
    count, channels = q.shape
    theta, phi = linear(s, w, "refine.gcn.W_theta"), linear(s, w, "refine.gcn.W_phi")
    alike = (theta @ phi.T / math.sqrt(channels)).softmax(1)
    ring = torch.zeros_like(alike)
    for n in range(count):
        ring[n, (n + 1) % count] = ring[n, (n - 1) % count] = 1
    alpha = w["refine.gcn.alpha"]
    a = alpha * alike + (1 - alpha) * ring
    a = a / a.sum(1, keepdim=True)
    gate = linear(linear(q, w, "refine.gcn.mlp_mod.0").relu(), w, "refine.gcn.mlp_mod.2").sigmoid()
    return (a @ (gate * linear(q, w, "refine.gcn.W"))).relu()


def refined(
    features: Tensor, found: np.ndarray, support: Tensor, w: Mapping[str, Tensor], side: int,
    *, repaired: bool = False,
) -> Tensor:
    """Moved points (K, 2).

    As published: query prototypes in sorted order, points as they came, and pixel coordinates
    where the sampler expects 0 to 1. Repaired: one order, coordinates from 0 to 1.
    """
    ordered = found[angle_order(found)]
    q = point_prototypes(features, ordered, side)
    points = torch.from_numpy(ordered if repaired else found).to(q)
    of_graph = graph(q, support, w)
    q = layer_norm(q + of_graph, w, "refine.norm1")
    q = layer_norm(q + attention(q, w, "refine.self_attn"), w, "refine.norm2")
    name = "refine.deform_attn"
    for _ in range(STEPS):
        sampled, moved = torch.zeros_like(q), torch.zeros_like(points)
        for k in range(len(q)):
            o = linear(torch.cat([q[k], of_graph[k]]), w, f"{name}.offset_pred").reshape(OFFSETS, 2)
            both = torch.cat([q[k], support[k]])
            scale = linear(both, w, f"{name}.scale_mod.0").relu()
            scale = 2 * linear(scale, w, f"{name}.scale_mod.2").sigmoid()
            weight = linear(q[k], w, f"{name}.attn_weight").softmax(0)
            for n in range(OFFSETS):
                place = points[k] + scale * o[n]
                u, v = (place / (side - 1) if repaired else place).tolist()
                sampled[k] += weight[n] * sample(features, u, v)
                moved[k] += weight[n] * o[n]
            moved[k] = points[k] + scale * moved[k]
        points = moved
        q = layer_norm(q + sampled, w, "refine.norm3")
    return points


# --- Prompts, and everything together ------------------------------------------------------------


def positives(coarse: np.ndarray) -> np.ndarray:
    """(P, 2), (x, y)."""
    sure = [(x, y) for y, row in enumerate(coarse) for x, value in enumerate(row) if value > 0.96]
    if not sure:
        row, column = np.unravel_index(np.argmax(coarse), coarse.shape)
        return np.array([(column, row)])
    if len(sure) > 10:
        sure = [sure[int(n)] for n in np.linspace(0, len(sure) - 1, 10)]
    return np.array(sure)


@dataclass
class LiteralAnswer:
    """Of one query and one support: maps and points as FobAnswer has them, without B."""

    coarse: Tensor
    fit: Tensor
    heat: Tensor
    found: np.ndarray
    points: Tensor
    background: Tensor


def answer(
    support_features: Tensor, mask: np.ndarray, features: Tensor, threshold: float,
    w: Mapping[str, Tensor], side: int, count: int, *, repaired: bool = False,
) -> LiteralAnswer:
    """From encoded pictures and the support's mask (S, S), which must have a ring."""
    large = enlarged(support_features, side)
    foreground = prototype(large, mask.astype(np.float64))
    background = point_prototypes(support_features, support_points(mask, count), side)
    alike = cosine_map(features, foreground)
    of_context, fit = context(features * (1 - alike), background, w)
    heat = head(of_context, w, side)
    found = highest(heat)
    points = refined(features, found, background, w, side, repaired=repaired)
    return LiteralAnswer(coarse_map(alike, threshold, side), fit, heat, found, points, background)


class Encoder:
    """torchvision's ResNet-101 with FoB's two outputs, one picture at a time.

    Args:
        w: a whole state dict in the published layout.
    """

    def __init__(self, w: Mapping[str, Tensor]) -> None:
        from torchvision.models import resnet101

        self.w = w
        self.network = resnet101(weights=None, replace_stride_with_dilation=[True, True, False])
        start = "encoder.backbone."
        self.network.load_state_dict(
            {name.removeprefix(start): t for name, t in w.items() if name.startswith(start)}
        )
        self.network.eval()
        self.seen: dict[str, Tensor] = {}
        self.network.layer3.register_forward_hook(
            lambda _module, _inputs, output: self.seen.update(layer3=output)
        )

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> tuple[Tensor, float]:
        """(3, S, S) -> features (C, S/4, S/4) and the threshold."""
        scores = self.network(picture[None])[0]
        features = F.conv2d(self.seen["layer3"], self.w["encoder.reduce1.weight"])[0]
        return features, float(linear(scores, self.w, "encoder.reduce1d"))
