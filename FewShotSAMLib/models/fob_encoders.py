"""FoB's two encoders: from a picture, or from the embedded model's maps of it, to features.

The modules carry the names of the published checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .fob_config import FobConfig


class ResNetEncoder(nn.Module):
    """ResNet-101 without strides in its third and fourth group of layers (methods, section 2.2).

    (N, 3, S, S) z-scored pictures -> features (N, C, S/4, S/4) and one threshold a picture (N, 1).
    """

    def __init__(self, c: FobConfig) -> None:
        super().__init__()
        from torchvision.models import resnet101

        whole = resnet101(weights=None, replace_stride_with_dilation=[True, True, False])
        self.backbone = nn.ModuleDict(dict(whole.named_children()))
        self.reduce1 = nn.Conv2d(1024, c.channels, 1, bias=False)
        self.reduce2 = nn.Conv2d(2048, c.channels, 1, bias=False)  # in the checkpoints, unused
        self.reduce1d = nn.Linear(1000, 1)
        for projection in (self.reduce1, self.reduce2):  # as all other convolutions begin
            nn.init.kaiming_normal_(projection.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures -> features and thresholds, as above."""
        x = images
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"):
            x = self.backbone[name](x)
        features = self.reduce1(x)
        x = self.backbone["layer4"](x)
        x = self.backbone["fc"](self.backbone["avgpool"](x).flatten(1))
        return features, self.reduce1d(x)


class PyramidEncoder(nn.Module):
    """The embedded model's maps made one: a light backbone whose larger part is not trained.

    It begins as a copy of the similarity features, which tell structures apart already.

    (N, sum of channels, grid, grid) maps, side by side -> features (N, C, grid, grid) and one
    threshold a picture (N, 1).
    """

    def __init__(self, c: FobConfig) -> None:
        super().__init__()
        self.mix = nn.Conv2d(sum(c.pyramid), c.channels, 1)
        similarity = sum(c.pyramid[-2:])
        with torch.no_grad():
            self.mix.weight.mul_(0.3)
            self.mix.weight[:similarity] = 0
            self.mix.weight[:similarity, -similarity:, 0, 0].fill_diagonal_(1)
            self.mix.bias.zero_()
        self.blocks = nn.Sequential(*(Block(c.channels, d) for d in (1, 2, 4)))
        # Each channel around zero: what all places share would make all of them alike.
        self.centre = nn.InstanceNorm2d(c.channels)
        self.reduce1d = nn.Linear(c.channels, 1)
        nn.init.zeros_(self.reduce1d.weight)
        nn.init.constant_(self.reduce1d.bias, -10.0)  # half at a cosine of 0.5

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Maps -> features and thresholds, as above."""
        features = self.blocks(self.mix(maps))
        return self.centre(features), self.reduce1d(features.mean((2, 3)))


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation in eight groups."""
    return nn.GroupNorm(8, channels)


class Block(nn.Module):
    """Two convolutions, the first of them dilated, and the way around them."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, 1, dilation, dilation, bias=False)
        self.norm = norm(channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.last = norm(channels)
        nn.init.zeros_(self.last.weight)  # begins as nothing but its input

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same."""
        return x + self.last(self.second(F.relu(self.norm(self.first(x)))))
