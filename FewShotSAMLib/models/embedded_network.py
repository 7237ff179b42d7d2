"""The embedded network: a small promptable segmenter with a head of matching features.

A convolutional pyramid reads the picture once. Two heads give dense features for similarity: one
that knows where it is (it plays the SAM encoder's part in SynPo) and one that knows what it sees
(DINOv2's part). A convolutional decoder draws prompts into the pyramid as maps: points as
Gaussians of two radii, boxes, mask and confidence map as they are, and, so that a click says
"things like this", the similarity of every place to the places clicked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .interfaces import PromptBatch


@dataclass(frozen=True)
class EmbeddedConfig:
    """Widths of the embedded network (channels), stored with its weights."""

    stem: int = 24
    levels: tuple[int, int, int, int] = (64, 112, 176, 208)  # strides 4, 8, 16, 32
    pyramid: tuple[int, int, int] = (64, 88, 104)  # strides 4, 8, 16
    position: int = 32
    matching: int = 48
    decoder: int = 64


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, channels)


class ConvNorm(nn.Sequential):
    """3x3 convolution, group norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            _norm(outputs),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two convolutions and the way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same."""
        return F.relu(x + self.norm(self.second(self.first(x))))


class GlobalContext(nn.Module):
    """Adds what the whole picture says to every place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Linear(2 * channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same."""
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return x + self.mix(pooled)[:, :, None, None]


def _up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def coordinates(like: Tensor) -> Tensor:
    """(N, 2, h, w): x and y from -1 to 1, for maps that must know where they are."""
    n, _, h, w = like.shape
    y = (torch.arange(h, device=like.device, dtype=torch.float32) + 0.5) / h * 2 - 1
    x = (torch.arange(w, device=like.device, dtype=torch.float32) + 0.5) / w * 2 - 1
    grid = torch.stack([x.expand(h, w), y[:, None].expand(h, w)])
    return grid.to(like.dtype).expand(n, -1, -1, -1)


@dataclass(frozen=True, eq=False)
class Pyramid:
    """What the encoder makes of N pictures of side S.

    Attributes:
        fine: (N, 24, S/2, S/2); p4, p8, p16: the pyramid at strides 4, 8, 16.
        position, matching: (N, C, S/4, S/4) similarity features.
    """

    fine: Tensor
    p4: Tensor
    p8: Tensor
    p16: Tensor
    position: Tensor
    matching: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """All maps, in the order of the fields."""
        return (self.fine, self.p4, self.p8, self.p16, self.position, self.matching)

    def select(self, index: Tensor) -> Pyramid:
        """Those of the pictures of an index (B,), which may name one several times."""
        return Pyramid(*(t[index] for t in self.tensors()))


class Encoder(nn.Module):
    """(N, 1, S, S) pictures in [0, 1], S a multiple of 32 -> Pyramid."""

    def __init__(self, c: EmbeddedConfig) -> None:
        super().__init__()
        a, b, d, e = c.levels
        p4, p8, p16 = c.pyramid
        self.stem = nn.Sequential(ConvNorm(1, c.stem, 2), ConvNorm(c.stem, c.stem))
        self.level4 = nn.Sequential(ConvNorm(c.stem, a, 2), Residual(a), Residual(a))
        self.level8 = nn.Sequential(ConvNorm(a + 2, b, 2), Residual(b), Residual(b))
        self.level16 = nn.Sequential(ConvNorm(b + 2, d, 2), Residual(d), Residual(d))
        self.level32 = nn.Sequential(ConvNorm(d + 2, e, 2), Residual(e), GlobalContext(e))
        self.side32 = nn.Conv2d(e, p16, 1)
        self.side16 = nn.Conv2d(d, p16, 1)
        self.side8 = nn.Conv2d(b, p8, 1)
        self.side4 = nn.Conv2d(a, p4, 1)
        self.down16 = nn.Conv2d(p16, p8, 1)
        self.down8 = nn.Conv2d(p8, p4, 1)
        self.smooth16 = ConvNorm(p16, p16)
        self.smooth8 = ConvNorm(p8, p8)
        self.smooth4 = ConvNorm(p4, p4)
        self.position = nn.Sequential(ConvNorm(p4 + 2, p4), nn.Conv2d(p4, c.position, 1))
        self.matching = nn.Sequential(ConvNorm(p4 + p8, p4), nn.Conv2d(p4, c.matching, 1))

    def forward(self, images: Tensor) -> Pyramid:
        """(N, 1, S, S) in [0, 1] -> all maps of N pictures."""
        fine = self.stem((images - 0.3) / 0.25)
        l4 = self.level4(fine)
        l8 = self.level8(torch.cat([l4, coordinates(l4)], 1))
        l16 = self.level16(torch.cat([l8, coordinates(l8)], 1))
        l32 = self.level32(torch.cat([l16, coordinates(l16)], 1))
        p16 = self.smooth16(self.side16(l16) + _up(self.side32(l32), l16))
        p8 = self.smooth8(self.side8(l8) + _up(self.down16(p16), l8))
        p4 = self.smooth4(self.side4(l4) + _up(self.down8(p8), l4))
        return Pyramid(
            fine, p4, p8, p16,
            self.position(torch.cat([p4, coordinates(p4)], 1)),
            self.matching(torch.cat([p4, _up(p8, p4)], 1)),
        )


class Decoder(nn.Module):
    """A pyramid and drawn prompts -> logits at stride 2, and logits of two judgements: how well
    the mask overlaps if there is something to find, and whether there is."""

    def __init__(self, c: EmbeddedConfig) -> None:
        super().__init__()
        p4, p8, p16 = c.pyramid
        d = c.decoder
        self.image = nn.Conv2d(p4, d, 1)
        self.prompt = ConvNorm(PROMPT_MAPS, d)
        self.block4 = Residual(d)
        self.to8 = ConvNorm(d, p8, 2)
        self.block8 = ConvNorm(2 * p8, p8)
        self.to16 = ConvNorm(p8, p16, 2)
        self.block16 = nn.Sequential(ConvNorm(2 * p16, p16), GlobalContext(p16), Residual(p16))
        self.from16 = nn.Conv2d(p16, p8, 1)
        self.merge8 = ConvNorm(p8, p8)
        self.from8 = nn.Conv2d(p8, d, 1)
        self.merge4 = Residual(d)
        self.from4 = nn.Conv2d(d, 32, 1)
        self.merge2 = ConvNorm(32 + c.stem, 32)
        self.mask = nn.Conv2d(32, 1, 3, padding=1)
        self.quality = nn.Sequential(nn.Linear(2 * d + p16, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, pyramid: Pyramid, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 1, S/2, S/2) and judgements (B, 2)."""
        x4 = self.block4(F.relu(self.image(pyramid.p4) + self.prompt(maps)))
        x8 = self.block8(torch.cat([self.to8(x4), pyramid.p8], 1))
        x16 = self.block16(torch.cat([self.to16(x8), pyramid.p16], 1))
        y8 = self.merge8(x8 + _up(self.from16(x16), x8))
        y4 = self.merge4(x4 + _up(self.from8(y8), x4))
        y2 = self.merge2(torch.cat([_up(self.from4(y4), pyramid.fine), pyramid.fine], 1))
        logits = self.mask(y2).float()
        weight = F.interpolate(logits.detach().sigmoid(), size=y4.shape[-2:], mode="area")
        within = (y4 * weight).sum((2, 3)) / (weight.sum((2, 3)) + 1.0)
        summary = torch.cat([within, y4.mean((2, 3)), x16.mean((2, 3))], 1)
        return logits, self.quality(summary).float()


PROMPT_MAPS = 13


def draw_prompts(
    matching: Tensor,
    points: Tensor,
    labels: Tensor,
    *,
    stride: int = 4,
    boxes: Tensor | None = None,
    masks: Tensor | None = None,
    confidence: Tensor | None = None,
) -> Tensor:
    """Prompts as (B, PROMPT_MAPS, h, w) maps.

    Args:
        matching: (B, C, h, w) matching features of each prompt's picture.
        points: (B, P, 2) (x, y) in picture pixels; labels: (B, P) 1, 0 or -1 for padding.
        stride: picture pixels per feature.
        boxes: (B, 4) in picture pixels, NaN rows for none.
        masks: (B, 1, m, m) logits, NaN pictures for none.
        confidence: (B, 1, m, m), NaN pictures for none.
    """
    b, _, h, w = matching.shape
    unit = F.normalize(matching.float(), dim=1)
    place = (points.float() + 0.5) / stride - 0.5  # pixel centres of the feature grid
    layers = _point_maps(unit, place, labels)
    blank = torch.zeros(b, h, w, device=matching.device)
    layers.append(blank if boxes is None else _filled(boxes, stride, h, w))
    layers += [blank] * 3 if masks is None else _mask_maps(unit, masks)
    layers += [blank] * 3 if confidence is None else _confidence_maps(confidence, h, w)
    return torch.stack(layers, 1)


def _point_maps(unit: Tensor, place: Tensor, labels: Tensor) -> list[Tensor]:
    """Gaussians of two widths about positive and negative points, and likeness to each kind."""
    h, w = unit.shape[-2:]
    positive, negative = (labels == 1).float(), (labels == 0).float()
    wide_pixels = h / 64  # the wide Gaussian keeps its share of the picture
    layers = []
    for kind in (positive, negative):
        for sigma in (1.2, 4.0 * wide_pixels):
            layers.append(_gaussians(place, kind, sigma, h, w))
    sample = _sampled(unit, place)  # (B, P, C)
    for kind in (positive, negative):
        mean = (sample * kind[..., None]).sum(1) / kind.sum(1, keepdim=True).clamp(min=1)
        layers.append(torch.einsum("bchw,bc->bhw", unit, mean))
    return layers


def _mask_maps(unit: Tensor, masks: Tensor) -> list[Tensor]:
    """The mask from -1 to 1, whether there is one, and likeness to what it covers."""
    prior, given = _resized(masks, *unit.shape[-2:])
    inside = prior.sigmoid() * given
    mean = torch.einsum("bchw,bhw->bc", unit, inside)
    mean = mean / inside.sum((1, 2)).clamp(min=1)[:, None]
    alike = torch.einsum("bchw,bc->bhw", unit, mean)
    return [(2 * prior.sigmoid() - 1) * given, given, alike]


def _confidence_maps(confidence: Tensor, h: int, w: int) -> list[Tensor]:
    """The confidence as it is and against its highest, and whether there is any."""
    score, given = _resized(confidence, h, w)
    top = score.flatten(1).amax(1).clamp(min=0.05).view(-1, 1, 1)
    return [score * given, score / top * given, given]


def _gaussians(place: Tensor, weight: Tensor, sigma: float, h: int, w: int) -> Tensor:
    x = torch.arange(w, device=place.device, dtype=torch.float32)
    y = torch.arange(h, device=place.device, dtype=torch.float32)
    gx = torch.exp(-0.5 * ((x - place[..., :1]) / sigma) ** 2)
    gy = torch.exp(-0.5 * ((y - place[..., 1:]) / sigma) ** 2) * weight[..., None]
    return torch.bmm(gy.transpose(1, 2), gx).clamp(max=1.5)


def _sampled(features: Tensor, place: Tensor) -> Tensor:
    h, w = features.shape[-2:]
    size = torch.tensor([w, h], device=place.device, dtype=torch.float32)
    grid = (place + 0.5) / size * 2 - 1
    taken = F.grid_sample(
        features, grid[:, :, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return taken[..., 0].transpose(1, 2)


def _filled(boxes: Tensor, stride: int, h: int, w: int) -> Tensor:
    given = ~torch.isnan(boxes).any(1)
    edge = (torch.nan_to_num(boxes.float()) + 0.5) / stride
    x = torch.arange(w, device=boxes.device, dtype=torch.float32) + 0.5
    y = torch.arange(h, device=boxes.device, dtype=torch.float32) + 0.5
    in_x = (x >= edge[:, 0:1]) & (x <= edge[:, 2:3])
    in_y = (y >= edge[:, 1:2]) & (y <= edge[:, 3:4])
    inside = (in_y[:, :, None] & in_x[:, None, :]).float() * 2 - 1
    return inside * given.view(-1, 1, 1)


def _resized(maps: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    given = ~torch.isnan(maps).flatten(1).all(1)
    maps = torch.nan_to_num(maps.float())
    if maps.shape[-1] > w:
        maps = F.interpolate(maps, size=(h, w), mode="area")
    elif maps.shape[-1] < w:
        maps = F.interpolate(maps, size=(h, w), mode="bilinear", align_corners=False)
    return maps[:, 0], given.float().view(-1, 1, 1).expand(-1, h, w)


class EmbeddedNetwork(nn.Module):
    """Encoder and decoder, and the two numbers that calibrate the fused confidence map."""

    def __init__(self, config: EmbeddedConfig | None = None) -> None:
        super().__init__()
        self.config = config or EmbeddedConfig()
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)
        self.contrast = nn.Parameter(torch.tensor([2.5, 2.5]))  # log of the softmax scales
        self.calibration = nn.Parameter(torch.tensor([8.0, -3.0]))

    def decode(self, pyramid: Pyramid, prompts: PromptBatch) -> tuple[Tensor, Tensor]:
        """Logits (B, 1, S/2, S/2) and judgements (B, 2) for one prompt a picture of the pyramid."""
        maps = draw_prompts(
            pyramid.matching, prompts.points, prompts.labels, boxes=prompts.boxes,
            masks=prompts.masks, confidence=prompts.confidence,
        )
        return self.decoder(pyramid, maps.to(pyramid.p4.dtype))
