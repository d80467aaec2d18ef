"""Scrawls, drawings and writing that are not numbers: strokes, curves, triangles, faces and letters.

Shapes   V variants of a kind   S side of a frame
"""

from __future__ import annotations

from math import pi

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnist_seq.data.digits import MNIST_SIZE
from mnist_seq.data.strokes import draw_curves, draw_lines, draw_strokes, sample_between

SCRAWLS_OF_A_KIND = 240
_MIDDLE = MNIST_SIZE / 2
"""Middle of the frame in whose pixels all of this is drawn."""
_STROKE_WIDTHS = (1.5, 4.0)
"""Range of the widths of random strokes, pixels."""
_FINE_WIDTHS = (1.0, 2.5)
"""Range of the stroke widths of the other kinds, pixels. With wider ones, they would look like thick zeros."""
_CURVE_POINTS = 9
"""With fewer, random curves would look like zeros and other digits."""
_RANGE = (3.0, 25.0)
"""Range of the coordinates of the points of random strokes and curves, pixels."""
_RADII = (6.0, 12.0)
"""Range of the distances of a triangle's corners and of a face's outline from the middle, pixels."""
_AXIS_TO_WIDTH = 5
"""Least ratio of a face's shorter half axis to the width of its strokes, with which its eyes and mouth stay apart."""
_LETTERS = {
    "A": "06 20 46|14 34",
    "E": "40 00 06 46|03 33",
    "F": "40 00 06|03 33",
    "H": "00 06|40 46|03 43",
    "K": "00 06|40 03 46",
    "L": "00 06 46",
    "M": "06 00 23 40 46",
    "N": "06 00 46 40",
    "T": "00 40|20 26",
    "P": "06 00 30 41 42 33 03",
    "R": "06 00 30 41 42 33 03|23 46",
    "U": "00 05 16 36 45 40",
    "V": "00 26 40",
    "W": "00 16 22 36 40",
    "X": "00 46|40 06",
    "a": "12 32 43 46|44 14 05 16 36 45",
    "f": "40 30 21 26|02 42",
    "d": "40 46|43 32 12 03 05 16 36 45",
    "e": "04 44 43 32 12 03 05 16 46",
    "h": "00 06|03 12 32 43 46",
    "k": "00 06|32 04 36",
    "m": "02 06|03 12 23 26|23 32 43 46",
    "n": "02 06|03 12 32 43 46",
    "v": "02 26 42",
    "p": "02 08|03 12 32 43 45 36 16 05",
    "r": "02 06|04 12 32",
    "t": "10 15 26 36|02 32",
    "x": "02 46|42 06",
    "u": "02 05 16 36 45|42 46",
    "w": "02 16 23 36 42",
}
"""Letter -> its lines: points x y on a grid of 5 columns, a capital's top at y = 0 and its foot at y = 6.

Letters that look like digits are left out: B C D G I J O Q S Y Z b c g i j l o q s y z.
"""
_CENTRE = torch.tensor([2, 3])
_PITCH = torch.tensor([4.0, 20 / 6])
"""Distance between the columns and between the rows of that grid, pixels."""
_LETTER_SIZES = (0.6, 1.2)
_LETTER_SLANTS = (-0.15, 0.4)
"""Pixels to the right for each pixel upwards."""
_LETTER_JITTER = 0.8
"""Largest shift of a letter's point along each axis, pixels."""


def scrawl_images(size: int) -> dict[str, Float[Tensor, "V {size} {size}"]]:
    """Draw SCRAWLS_OF_A_KIND variants of each kind: ink 1 on a background of 0, the same in every run.

    Args:
        size: side of the frames, pixels.
    """
    unit = size / MNIST_SIZE
    strokes, curves = _draw_random_strokes(unit, size), _draw_random_curves(unit, size)
    images = {"strokes": strokes, "curve": curves, "curve and strokes": curves.maximum(strokes.flip(0))}
    return images | {kind: draw(unit, size) for kind, draw in _KINDS.items()}


def _draw_random_strokes(unit: float, size: int) -> Float[Tensor, "V S S"]:
    """Draw two or three strokes that cross at random or continue each other by turns."""
    ends = _uniform("strokes", 12, _RANGE).unflatten(1, (3, 4)) * unit
    ends[::2, 1:, :2] = ends[::2, :-1, 2:]
    widths, count = _widths("strokes", _STROKE_WIDTHS) * unit, 2 + _VARIANTS // 2 % 2
    drawn = torch.stack([draw_strokes(it, widths, size) for it in ends.unbind(1)])
    drawn[2] *= (count > 2)[:, None, None]
    return drawn.amax(0)


def _draw_random_curves(unit: float, size: int) -> Float[Tensor, "V S S"]:
    points = _uniform("curve", 2 * _CURVE_POINTS, _RANGE).unflatten(1, (-1, 2))
    return draw_curves(points * unit, _widths("curve", _FINE_WIDTHS) * unit, size)


def _draw_triangles(unit: float, size: int) -> Float[Tensor, "V S S"]:
    """Draw triangles, every other one with a stroke through it. With more corners, they would look like zeros."""
    widths, corner = _widths("triangle", _FINE_WIDTHS) * unit, torch.arange(4) % 3
    angles = _uniform("turn", 1, (0.0, 2 * pi)) + 2 * pi / 3 * corner + _uniform("angles", 3, (-0.3, 0.3))[:, corner]
    radii = _uniform("radii", 3, _RADII)[:, corner, None]
    points = _MIDDLE + radii * torch.stack([angles.cos(), angles.sin()], -1)
    through = draw_strokes(_uniform("through", 4, _RANGE) * unit, widths, size)
    return draw_lines(points * unit, widths, size).maximum(through * (_VARIANTS % 2)[:, None, None])


def _draw_faces(unit: float, size: int) -> Float[Tensor, "V S S"]:
    """Draw a round outline, two eyes and a mouth."""
    angles = 2 * pi * torch.arange(13) / 12
    axes = _uniform("face axes", 2, _RADII)
    widths = _widths("face", _FINE_WIDTHS).minimum(axes.amin(1) / _AXIS_TO_WIDTH) * unit
    radii = (axes[:, None] * _uniform("face outline", 24, (0.93, 1.07)).unflatten(1, (12, 2)))[:, torch.arange(13) % 12]
    outline = _MIDDLE + radii * torch.stack([angles.cos(), angles.sin()], -1)
    images = draw_curves(outline * unit, widths, size)

    def place(*places: tuple[float, float]) -> Tensor:
        name = f"face {places}"
        shift = _uniform(name, 2 * len(places), (-0.1, 0.1)).unflatten(1, (-1, 2))
        return (_MIDDLE + axes[:, None] * (torch.tensor(places) + shift)) * unit

    mouth = place((-0.45, 0.3), (0.0, 0.5), (0.45, 0.3))
    mouth[:, 1, 1] += _uniform("smile", 1, (-4.0, 2.0))[:, 0] * unit
    eyes = [place((x, -0.3), (x, -0.25)).flatten(1) for x in (-0.35, 0.35)]
    for feature in (draw_curves(mouth, widths, size), *(draw_strokes(eye, 1.3 * widths, size) for eye in eyes)):
        images = images.maximum(feature)
    return images


def _draw_letters(unit: float, size: int) -> Float[Tensor, "V S S"]:
    """Draw SCRAWLS_OF_A_KIND / 30 variants of each letter in turn."""
    scale, slant = _uniform("letter size", 1, _LETTER_SIZES), _uniform("slant", 1, _LETTER_SLANTS)
    widths = _widths("letter", _FINE_WIDTHS) * unit
    images = torch.zeros(SCRAWLS_OF_A_KIND, size, size)
    for number, lines in enumerate(_LETTERS.values()):
        own = slice(number, None, len(_LETTERS))
        for index, line in enumerate(lines.split("|")):
            grid = torch.tensor([[int(point[0]), int(point[1])] for point in line.split()])
            jitter = _uniform(f"letter {index}", grid.numel(), (-_LETTER_JITTER, _LETTER_JITTER))[own]
            x, y = (scale[own] * (grid - _CENTRE).mul(_PITCH).flatten() + jitter).unflatten(1, (-1, 2)).unbind(-1)
            points = _MIDDLE + torch.stack([x - slant[own] * y, y], -1)
            images[own] = images[own].maximum(draw_lines(points * unit, widths[own], size))
    return images


_VARIANTS: Int[Tensor, "V"] = torch.arange(SCRAWLS_OF_A_KIND)
_KINDS = {"triangle": _draw_triangles, "face": _draw_faces, "letter": _draw_letters}
NUM_SCRAWL_KINDS = 3 + len(_KINDS)


def _widths(kind: str, bounds: tuple[float, float]) -> Float[Tensor, "V"]:
    return _uniform(f"{kind} width", 1, bounds)[:, 0]


def _uniform(purpose: str, slots: int, bounds: tuple[float, float]) -> Float[Tensor, "V slots"]:
    return sample_between("scrawls", purpose, _VARIANTS, slots, bounds)
