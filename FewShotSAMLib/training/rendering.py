"""Label maps to pictures: tissues, textures, coil shading, noise, and what scanners do to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .anatomy import Draw, column, smooth_noise, sources
from .body_plans import TISSUES

LAYERS = 5  # of texture


@dataclass(frozen=True, eq=False)
class Appearance:
    """How each tissue of B anatomies looks.

    Attributes:
        brightness: (B, L) mean of each label, 0 to 1 (label 0 is the air around).
        texture: (B, L, 5) amplitude of fine, middle, coarse noise, of vessels and of patches.
        inverted: (B,) bool, bright and dark exchanged.
        speckle: (B,) amplitude of multiplicative speckle.
    """

    brightness: Tensor
    texture: Tensor
    inverted: Tensor
    speckle: Tensor


def random_appearance(tissue: Tensor, generator: torch.Generator) -> Appearance:
    """Looks for anatomies whose solids have these tissues, (B, K) long."""
    rand, randn = sources(generator, tissue.device)
    b = len(tissue)
    brightness = _brightness(tissue, rand, randn)
    return Appearance(
        brightness=brightness,
        texture=_texture(tissue, rand),
        inverted=rand(b) < 0.15,
        speckle=torch.where(rand(b) < 0.12, rand(b) * 0.5, torch.zeros(b, device=tissue.device)),
    )


def _brightness(tissue: Tensor, rand: Draw, randn: Draw) -> Tensor:
    """(B, K + 1), the air first."""
    b, k = tissue.shape
    flat = rand(b, TISSUES)
    # CT-like: soft tissues close together, few very bright or dark
    close = (0.55 + randn(b, TISSUES) * 0.09).clamp(0.05, 1)
    close = torch.where(rand(b, TISSUES) < 0.25, flat, close)
    # MR-like: mostly dark with bright organs
    dark = flat**1.8
    kind = rand(b, 1)
    means = torch.where(kind < 0.4, close, torch.where(kind < 0.75, dark, flat))
    brightness = means.gather(1, tissue) + randn(b, k) * 0.025
    air = torch.where(rand(b, 1) < 0.85, rand(b, 1) * 0.05, rand(b, 1))
    return torch.cat([air, brightness.clamp(0.01, 1)], 1)


def _texture(tissue: Tensor, rand: Draw) -> Tensor:
    """(B, K + 1, LAYERS), the air first."""
    b, device = len(tissue), tissue.device
    usual = torch.tensor([0.03, 0.05, 0.05, 0.12, 0.06], device=device)
    texture = rand(b, TISSUES, LAYERS) ** 2 * 1.6 * usual * (0.4 + rand(b, 1, 1))
    for layer, share in ((3, 0.3), (4, 0.35)):  # few tissues have vessels, or several greys
        some = rand(b, TISSUES) < share
        texture[..., layer] = torch.where(some, texture[..., layer] * 2, 0.0)
    busy = rand(b, TISSUES, 1) < 0.12  # bowel and the like
    texture = torch.where(busy, texture * 3, texture)
    return torch.cat([torch.zeros(b, 1, LAYERS, device=device),
                      texture.gather(1, tissue[..., None].expand(-1, -1, LAYERS))], 1)


def another_scan(look: Appearance, generator: torch.Generator, strength: Tensor) -> Appearance:
    """The same protocol on another person; strength (B,), 0 changes nothing, 1 is usual."""
    _, randn = sources(generator, look.brightness.device)
    noise = randn(*look.brightness.shape)
    noise[:, 0] = 0
    # One curve for all tissues keeps which is brighter; the noise may exchange two that are alike.
    curve = torch.exp(randn(len(noise), 1) * 0.2 * strength[:, None])
    coarser = torch.exp(randn(len(noise), 1, 1) * 0.3 * strength[:, None, None])
    return Appearance(
        (look.brightness**curve + noise * 0.05 * strength[:, None]).clamp(0, 1),
        look.texture * coarser,
        look.inverted,
        look.speckle,
    )


@dataclass(frozen=True, eq=False)
class Scanner:
    """What scanners do to B pictures, (B,) each where nothing else is said.

    Attributes:
        blur: (B, 2) deviation of the Gaussian down and across, in pixels of 256.
        shade: depth of the coils' shading; noise: its level; rician: bool, as in magnitude images
            of MR.
        frequencies: share of them along x that is kept, 1 is all: edges have ripples below.
        coarse: how many times larger its pixels were.
        top: part of the robust range that is shown; gamma: exponent of what is shown.
    """

    blur: Tensor
    shade: Tensor
    noise: Tensor
    rician: Tensor
    frequencies: Tensor
    coarse: Tensor
    top: Tensor
    gamma: Tensor

    def where(self, chosen: Tensor, other: Scanner) -> Scanner:
        """This one for those chosen, (B,) bool, the other one else."""
        return Scanner(*(
            torch.where(chosen.view(-1, *[1] * (one.dim() - 1)), one, two)
            for one, two in zip(vars(self).values(), vars(other).values(), strict=True)
        ))


def random_scanner(
    count: int, generator: torch.Generator, device: torch.device | str
) -> Scanner:
    """`count` scanners; most make sharp pictures without ripples, shaded a little."""
    rand, _ = sources(generator, device)
    thick = rand(count, 2) < 0.06
    shade = torch.where(rand(count) < 0.2, 0.7, 0.3)  # surface coils reach deeper
    return Scanner(
        blur=rand(count, 2) * 0.7 + 0.35 + thick * 2.0,
        shade=rand(count) * shade,
        noise=rand(count) ** 2 * 0.07,
        rician=rand(count) < 0.5,
        frequencies=torch.where(rand(count) < 0.12, 0.35 + 0.3 * rand(count), 1.0),
        coarse=torch.where(rand(count) < 0.25, 1.3 + 2.2 * rand(count), 1.0),
        top=0.85 + 0.3 * rand(count),
        gamma=torch.exp((rand(count) - 0.5) * 0.9),
    )


def render(
    labels: Tensor, look: Appearance, scanner: Scanner, generator: torch.Generator
) -> Tensor:
    """(B, H, W) label maps -> (B, 1, H, W) pictures in [0, 1]."""
    b, h, _ = labels.shape
    picture = _blurred(_textured(labels, look, generator).clamp(min=0), scanner.blur)
    shade = smooth_noise(b, 1, h, 2, generator, labels.device)
    picture = picture * torch.exp(shade * column(scanner.shade))
    picture = _noisy(picture, look.speckle, scanner, generator)
    picture = _coarse(_ringing(picture, scanner.frequencies), scanner.coarse)
    return _windowed(picture, look.inverted, scanner)


def _textured(labels: Tensor, look: Appearance, generator: torch.Generator) -> Tensor:
    """Each label's brightness and texture: (B, 1, H, W)."""
    b, h, _ = labels.shape
    flat = labels.flatten(1)
    noises = torch.cat(
        [smooth_noise(b, 1, h, cells, generator, labels.device) for cells in (h // 3, 20, 7)], 1
    )
    ridge = smooth_noise(b, 1, h, 11, generator, labels.device)
    vessels = torch.exp(-((ridge / 0.09) ** 2)) * (noises[:, 2:3] > -0.3)
    patches = smooth_noise(b, 1, h, 9, generator, labels.device).mul(12).tanh()
    layers = torch.cat([noises, vessels, patches], 1).flatten(2)
    amplitude = look.texture.gather(1, flat[..., None].expand(-1, -1, LAYERS))
    picture = look.brightness.gather(1, flat).view(b, 1, h, h)
    return picture + (layers.transpose(1, 2) * amplitude).sum(-1).view(b, 1, h, h)


def _noisy(
    picture: Tensor, speckle: Tensor, scanner: Scanner, generator: torch.Generator
) -> Tensor:
    """With speckle, and with normal or Rician noise."""
    grain, spots = (
        torch.randn(picture.shape, generator=generator, device=picture.device) for _ in range(2)
    )
    spots = F.avg_pool2d(spots, 3, 1, 1) * 2
    picture = picture * (1 + spots * column(speckle))
    level = column(scanner.noise)
    rician = torch.sqrt((picture + grain * level) ** 2 + (grain.flip(2) * level) ** 2)
    return torch.where(column(scanner.rician), rician, picture + grain * level)


def _ringing(picture: Tensor, frequencies: Tensor) -> Tensor:
    """Without the high frequencies along x of those that keep few."""
    some = torch.nonzero(frequencies < 1).flatten()
    if some.numel():
        spectrum = torch.fft.rfft(picture[some], dim=-1)
        line = torch.linspace(0, 1, spectrum.shape[-1], device=picture.device)
        spectrum = spectrum * (line < column(frequencies[some]))
        cut = torch.fft.irfft(spectrum, n=picture.shape[-1], dim=-1)
        picture = picture.index_copy(0, some, cut)
    return picture.clamp(min=0)


def _coarse(picture: Tensor, factors: Tensor) -> Tensor:
    """As scans of fewer pixels look when they are enlarged."""
    size, pictures = picture.shape[-1], list(picture.split(1))
    for i in torch.nonzero(factors > 1).flatten().tolist():
        few = max(int(size / float(factors[i])), 8)
        small = F.interpolate(pictures[i], size=(few, few), mode="area")
        pictures[i] = F.interpolate(small, size=(size, size), mode="bicubic").clamp(min=0)
    return torch.cat(pictures)


def _windowed(picture: Tensor, inverted: Tensor, scanner: Scanner) -> Tensor:
    """Robust range to [0, 1], gamma, and the inversion of some."""
    values = picture[..., ::3, ::3].flatten(1)
    low, high = values.quantile(0.01, dim=1), values.quantile(0.995, dim=1) * scanner.top
    span = (high - low).clamp(min=1e-3)
    picture = (picture - column(low)) / column(span)
    picture = picture.clamp(1e-4, 1) ** column(scanner.gamma)
    return torch.where(column(inverted), 1 - picture, picture)


def _blurred(picture: Tensor, sigma: Tensor) -> Tensor:
    """Each picture (1, H, H) blurred by its own Gaussian, (B, 2)."""
    b, _, h, _ = picture.shape
    sigma = torch.where(sigma > 1.1, sigma * h / 256, sigma * (h / 256) ** 0.5)
    reach = torch.arange(-4, 5, device=picture.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (reach / sigma[..., None]) ** 2)
    kernel = kernel / kernel.sum(-1, keepdim=True)
    stack = picture.view(1, b, h, h)
    stack = F.conv2d(stack, kernel[:, 0].view(b, 1, 9, 1), padding=(4, 0), groups=b)
    stack = F.conv2d(stack, kernel[:, 1].view(b, 1, 1, 9), padding=(0, 4), groups=b)
    return stack.view(b, 1, h, h)
