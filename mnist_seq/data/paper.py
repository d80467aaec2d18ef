"""What lies behind handwriting: patterns that are printed on forms and cheques, and the grain of paper and sensors.

Patterns are drawn once, and each scene gets a random crop of one: drawing them anew would cost more than all other
corruptions together.

Shapes   P patterns   H W size of a pattern
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mnist_seq.data import rng

HEIGHT, WIDTH = 128, 512
"""Size of every pattern, pixels."""
_VARIANTS = 24
"""Patterns of each kind."""
_CPU = torch.device("cpu")
"""Where patterns are drawn, so that they are equal on every device; the copy on another one is kept."""


@cache
def printed_patterns(device: torch.device = _CPU) -> Float[Tensor, "P 128 512"]:
    """Draw what is printed on paper: 0 is bare paper, 1 full ink."""
    if device != _CPU:
        return printed_patterns().to(device)
    y, x = torch.meshgrid(torch.arange(HEIGHT).float(), torch.arange(WIDTH).float(), indexing="ij")
    patterns = []
    for kind, draw in enumerate((_waves, _dots, _squares, _rules, _letters, _fibres)):
        u = rng.uniform(rng.key(0, "paper", str(kind)), torch.arange(_VARIANTS), 16)[..., None, None]
        patterns.append(draw(x, y, u.unbind(1)))
    return torch.cat(patterns).clamp(0, 1)


@cache
def grain(device: torch.device = _CPU) -> Float[Tensor, "P 128 512"]:
    """Draw white Gaussian noise of mean 0 and standard deviation 1."""
    if device != _CPU:
        return grain().to(device)
    uniforms = rng.uniform(rng.key(0, "paper", "grain"), torch.arange(8), HEIGHT * WIDTH)
    return torch.special.ndtri(uniforms + 2**-25).view(-1, HEIGHT, WIDTH)


def _curve(phase: Tensor, width: Tensor) -> Tensor:
    """Draw a line wherever the phase is a whole number; `width` is a fraction of the distance of two lines."""
    distance = (phase - phase.round()).abs()
    return ((width / 2 - distance) / (width / 2)).clamp(0, 1)


def _waves(x: Tensor, y: Tensor, u: tuple[Tensor, ...]) -> Tensor:
    """Guilloche: families of wavy lines that cross each other."""
    families = []
    for first in (0, 7):
        spacing, angle, length, height, phase, width, _ = u[first : first + 7]
        along, across = _rotate(x, y, (angle - 0.5) * math.pi)
        wave = height * 8 * torch.sin(2 * math.pi * (along / (20 + 80 * length) + phase))
        families.append(_curve((across + wave) / (4 + 10 * spacing), 0.15 + 0.35 * width))
    return families[0] + families[1] * (u[14] > 0.5)


def _dots(x: Tensor, y: Tensor, u: tuple[Tensor, ...]) -> Tensor:
    """A raster of dots."""
    along, across = _rotate(x, y, (u[0] - 0.5) * math.pi)
    spacing, radius = 2.5 + 5 * u[1], 0.2 + 0.3 * u[2]
    row = (across / spacing).round()
    column = along / spacing + 0.5 * (row % 2) * (u[3] > 0.5)
    distance = ((column - column.round()) ** 2 + (across / spacing - row) ** 2).sqrt()
    return (1.5 * (radius - distance) / radius).clamp(0, 1)


def _squares(x: Tensor, y: Tensor, u: tuple[Tensor, ...]) -> Tensor:
    """Squared paper, a little turned."""
    along, across = _rotate(x, y, (u[0] - 0.5) * 0.1)
    spacing = 8 + 24 * u[1]
    width = (0.6 + 1.2 * u[2]) / spacing
    return torch.maximum(_curve(along / spacing + u[3], width), _curve(across / spacing + u[4], width))


def _rules(x: Tensor, y: Tensor, u: tuple[Tensor, ...]) -> Tensor:
    """Ruled paper, a little turned."""
    _, across = _rotate(x, y, (u[0] - 0.5) * 0.12)
    spacing = 16 + 40 * u[1]
    return _curve(across / spacing + u[2], (0.8 + 2.2 * u[3]) / spacing)


def _letters(x: Tensor, y: Tensor, u: tuple[Tensor, ...]) -> Tensor:
    """Print that is no digit: short strokes in rows, with the texture of small letters."""
    spacing = 10 + 22 * u[0]
    row = (y / spacing + u[1]).floor()
    height = y / spacing + u[1] - row
    drift = 9 * torch.sin(7.3 * row) + 2.5 * torch.sin(x * (0.21 + 0.2 * u[3]) + row)
    stems = torch.sin(x * (0.5 + 0.8 * u[2]) + drift).abs() < 0.35
    bars = (torch.cos(x * (0.9 + 0.5 * u[4]) + 5 * row) > 0.8) & ((height - 0.4).abs() < 0.06)
    words = torch.sin(x * (0.05 + 0.08 * u[5]) + 3 * row) > -0.4
    return ((stems | bars) & words & (height > 0.15) & (height < 0.55)).float()


def _fibres(x: Tensor, y: Tensor, u: tuple[Tensor, ...]) -> Tensor:
    """Blotches of rough paper: noise that is smoothed along one axis more than along the other."""
    noise = grain().repeat(_VARIANTS // len(grain()), 1, 1)[:, None]
    smooth = F.avg_pool2d(F.pad(noise, (3, 3, 1, 1), mode="circular"), (3, 7), 1)[:, 0]
    return 0.5 + smooth * (0.5 + u[0])


def _rotate(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    return x * torch.cos(angle) + y * torch.sin(angle), y * torch.cos(angle) - x * torch.sin(angle)
