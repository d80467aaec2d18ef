"""Corruptions of scenes: what paper, print, light, lens and sensor do to writing, in training and in evaluation.

They change rendered scenes, which are floats in [0, 1] with light ink; digit_corruptions.py changes digits before
rendering. How a scene is corrupted is a function of (seed, split, id).

Shapes   B scenes   N digits   H W canvas
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mnist_seq.config import CorruptionConfig
from mnist_seq.data import augment, paper
from mnist_seq.data.digits import MNIST_SIZE, clip_boxes, ink_boxes
from mnist_seq.data.levels import stretch_levels
from mnist_seq.data.render import SceneBatch
from mnist_seq.data.rng import DigitRng

PICTURE_BACKGROUND = 127
"""Highest grey level that does not count as ink on a picture: it may be paper, or print."""
_MAX_CUT = 0.1
"""Largest fraction of the digits' height that a random crop cuts off on one side."""
_STEEPNESS = 4
"""Factor on the slope of an edge that is sharpened fully."""
_INK_LEVEL = 0.4
"""Grey, 0..1, that becomes half ink; below a half, since thin strokes are grey throughout."""
_P_UPRIGHT = 0.12
"""Probability of each upright edge in a scene with ruled lines; if they were common, a 1 could pass for one."""


@dataclass(frozen=True)
class Amounts:
    """How much of each corruption every scene of a batch gets."""

    config: CorruptionConfig
    rng: DigitRng
    """Random numbers of the scenes, one slot each."""
    pixel_scale: float
    """Pixels per pixel of a 28x28 frame, the unit of the config's lengths."""

    def __call__(self, name: str, none: float = 0.0) -> Float[Tensor, "B 1 1"]:
        """Return how much of a corruption each scene gets: the config's value, or a random part of it.

        Args:
            none: the value that stands for no corruption.
        """
        value, ids = float(getattr(self.config, name)), self.rng.ids
        share = self.rng.uniform(name, 1) if self.config.random else torch.ones(len(ids), 1, device=ids.device)
        return (none + (value - none) * share)[..., None]

    def signed(self, name: str) -> Float[Tensor, "B 1"]:
        """Return how much of a corruption each scene gets, above 0 or below."""
        return self(name)[..., 0] * (1 - 2 * self.rng.integers(f"{name} sign", 1, 2))


def corrupt_scenes(
    batch: SceneBatch,
    ids: Int[Tensor, "B"],
    config: CorruptionConfig,
    seed: int,
    split: str,
    digit_size: int,
    background: int = 0,
) -> SceneBatch:
    """Corrupt the images of a batch of scenes, in the order in which paper, light, lens and sensor would.

    Args:
        seed: of the amounts and places of the corruptions.
        split: of the scenes.
        digit_size: side of a digit's frame, pixels.
        background: highest grey level that the crop does not go by: `PICTURE_BACKGROUND` on a picture.
    """
    steps = {name: step for name, step in STEPS.items() if name in config.non_default}
    if not steps and not config.crop and not config.level:
        return batch
    amounts = Amounts(config, DigitRng(seed, split, ids, stream=("corruption",)), digit_size / MNIST_SIZE)
    pictures, boxes, inside = batch.images[:, 0] / 255, batch.boxes, None
    if config.crop:
        ink = ink_boxes(batch.images[:, 0], background)
        pictures, inside, boxes = crop(pictures, ink, boxes, batch.counts, amounts)
    for step in steps.values():
        pictures = step(pictures, amounts)
    if config.level:
        pictures = stretch_levels(pictures.clamp(0, 1), inside)
    images = (255 * pictures).round().clamp(0, 255).to(torch.uint8)
    return batch._replace(images=images[:, None], boxes=boxes)


def crop(
    pictures: Float[Tensor, "B H W"],
    ink: Int[Tensor, "B 4"],
    boxes: Int[Tensor, "B N 4"],
    counts: Int[Tensor, "B"],
    amounts: Amounts,
) -> tuple[Float[Tensor, "B H W"], Bool[Tensor, "B H W"], Int[Tensor, "B N 4"]]:
    """Crop pictures to their ink with a margin and scale them to the canvas, as the preprocessing of a picture does.

    Marks and scrawls are ink too: a crop that depended on the digits alone would reveal whether there are any.

    Before that, the writing is slanted by `shear` and widened or narrowed by `stretch`, as hands differ.

    Args:
        ink: box of all ink of each picture, x0 y0 x1 y1 in pixels, half open; zeros without ink.
        boxes, counts: of the digits; zeros are unknown, and stay zeros.

    Returns:
        The cropped pictures, which pixels of the canvas they cover, and the boxes on it.
    """
    height, width = pictures.shape[1:]
    present = torch.arange(boxes.shape[1], device=boxes.device) < counts[:, None]
    present = present & (boxes[..., 2:] > boxes[..., :2]).all(2)
    slope = torch.tan(amounts.signed("shear") * (math.pi / 180))
    boxes = _shear_boxes(boxes, slope, height / 2)
    canvas, text = boxes.new_tensor([0, 0, width, height]), _shear_boxes(ink[:, None], slope, height / 2)[:, 0]
    text = torch.where((text[:, 2:] > text[:, :2]).all(1, keepdim=True), text, canvas).float()  # no ink: all of it
    text_height = (text[:, 3] - text[:, 1]).clamp(min=height / 8)
    sides = amounts.rng.uniform("crop sides", 4) if amounts.config.random else text.new_ones(len(text), 4)
    cut = _MAX_CUT if amounts.config.random else 0.0
    margins = (sides * (amounts.config.crop + cut) - cut) * text_height[:, None]
    margins[:, [0, 2]] = margins[:, [0, 2]].clamp(min=1)  # a digit cut at the end of the line may be another digit
    window = text + margins * margins.new_tensor([-1, -1, 1, 1])
    extent = window[:, 2:] - window[:, :2]
    stretch = amounts.signed("stretch")
    aspect = torch.cat([torch.where(stretch > 0, 1 + stretch, 1 / (1 - stretch)), torch.ones_like(stretch)], 1)
    scale = aspect * (canvas[2:] / (extent * aspect)).amin(1, keepdim=True)
    covered = extent * scale
    slack = canvas[2:] - covered
    corner = slack * amounts.rng.uniform("crop place", 2) if amounts.config.random else slack / 2
    x = (torch.arange(width, device=pictures.device) + 0.5 - corner[:, :1]) / scale[:, :1] + window[:, :1]
    y = (torch.arange(height, device=pictures.device) + 0.5 - corner[:, 1:]) / scale[:, 1:] + window[:, 1:2]
    upright_x = x[:, None] - slope[..., None] * (height / 2 - y[..., None])
    grid = torch.stack(torch.broadcast_tensors(2 / width * upright_x - 1, (2 / height * y - 1)[..., None]), -1)
    sampled = F.grid_sample(pictures[:, None], grid, align_corners=False)[:, 0]
    inside_x = ((x >= window[:, :1]) & (x < window[:, 2:3]))[:, None]
    inside_y = ((y >= window[:, 1:2]) & (y < window[:, 3:]))[..., None]
    moved = (boxes - window[:, None, :2].repeat(1, 1, 2)) * scale.repeat(1, 2)[:, None] + corner.repeat(1, 2)[:, None]
    return sampled, inside_x & inside_y, clip_boxes(moved.round().long(), height, width) * present[..., None]


def _shear_boxes(boxes: Tensor, slope: Float[Tensor, "B 1"], middle: float) -> Int[Tensor, "B N 4"]:
    """Enclose boxes whose content is slanted, to the right where the slope is above 0, about a row at `middle`."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    shifts = slope * (middle - y0), slope * (middle - y1)
    left, right = x0 + torch.minimum(*shifts), x1 + torch.maximum(*shifts)
    return torch.stack([left.floor().long(), y0, right.ceil().long(), y1], -1)


def sharpen(pictures: Float[Tensor, "B H W"], amounts: Amounts) -> Float[Tensor, "B H W"]:
    """Steepen the edges of strokes, which enlarging small digits softens."""
    return pictures.lerp((_STEEPNESS * (pictures - _INK_LEVEL) + 0.5).clamp(0, 1), amounts("sharpen"))


def add_print(pictures: Float[Tensor, "B H W"], amounts: Amounts) -> Float[Tensor, "B H W"]:
    """Put a printed pattern behind the ink."""
    pattern = _cut(paper.printed_patterns(pictures.device), "print", pictures, amounts)
    return torch.maximum(pictures, amounts("print") * pattern)


def add_ruling(pictures: Float[Tensor, "B H W"], amounts: Amounts) -> Float[Tensor, "B H W"]:
    """Draw up to two ruled lines, each on half of the scenes, and up to two upright edges of boxes, which are rarer.

    Upright edges come with ruled lines only: alone, one beside the digits could not be told from a 1.
    """
    lines, ruled = pictures.new_zeros(()), pictures.new_zeros(len(pictures), dtype=torch.bool)
    for axis, length, probability in ((1, pictures.shape[1], 0.5), (2, pictures.shape[2], _P_UPRIGHT)):
        for index in range(2):
            position, thickness, uniform = amounts.rng.uniform(f"ruling {axis} {index}", 3).unbind(1)
            drawn = uniform < probability
            if axis == 1:
                ruled = ruled | drawn
            else:
                drawn = drawn & ruled
            distance = (torch.arange(length, device=pictures.device) + 0.5 - (position * length)[:, None]).abs()
            line = (0.5 + (1.5 * thickness)[:, None] / 2 - distance).clamp(0, 1) * drawn[:, None]
            lines = torch.maximum(lines, line.unsqueeze(3 - axis))
    return torch.maximum(pictures, amounts("ruling") * lines)


def change_light(pictures: Float[Tensor, "B H W"], amounts: Amounts) -> Float[Tensor, "B H W"]:
    """Darken parts of the picture: a smooth gradient, and the straight edge of a shadow on half of the scenes."""
    height, width = pictures.shape[1:]
    corners = amounts.rng.uniform("light corners", 6).view(-1, 1, 2, 3)
    darkness = F.interpolate(corners, (height, width), mode="bilinear", align_corners=True)[:, 0]
    angle, offset, softness, drawn = amounts.rng.uniform("shadow", 4)[..., None, None].unbind(1)
    x = torch.linspace(-1, 1, width, device=pictures.device)
    y = torch.linspace(-1, 1, height, device=pictures.device)[:, None]
    side = x * torch.cos(2 * math.pi * angle) + y * torch.sin(2 * math.pi * angle) - (2 * offset - 1)
    shadow = (side / (0.02 + 0.3 * softness)).clamp(0, 1) * (drawn < 0.5)
    brightness = 1 - amounts("light") * torch.maximum(darkness, shadow)
    return 1 - (1 - pictures) * brightness


def fade(pictures: Float[Tensor, "B H W"], amounts: Amounts) -> Float[Tensor, "B H W"]:
    """Make all ink paler."""
    return pictures * amounts("contrast", none=1.0)


def blur(pictures: Float[Tensor, "B H W"], amounts: Amounts) -> Float[Tensor, "B H W"]:
    """Blur like a lens out of focus; beyond the edges the picture is reflected."""
    sigma = amounts("blur")[:, 0, 0] * amounts.pixel_scale
    radius = min(math.ceil(3 * amounts.config.blur * amounts.pixel_scale), *(side - 1 for side in pictures.shape[1:]))
    kernels = augment.gaussian_kernels(sigma, radius)
    padded = F.pad(pictures[None], (radius, radius, radius, radius), mode="reflect")
    blurred = F.conv2d(padded, kernels[:, None, :, None], groups=len(kernels))
    return F.conv2d(blurred, kernels[:, None, None], groups=len(kernels))[0]


def add_noise(pictures: Float[Tensor, "B H W"], amounts: Amounts) -> Float[Tensor, "B H W"]:
    """Add noise like that of a sensor."""
    return pictures + amounts("noise") * _cut(paper.grain(pictures.device), "noise", pictures, amounts)


STEPS: dict[str, Callable[[Tensor, Amounts], Tensor]] = {
    "sharpen": sharpen,
    "print": add_print,
    "ruling": add_ruling,
    "contrast": fade,
    "light": change_light,
    "blur": blur,
    "noise": add_noise,
}
"""Key of CorruptionConfig -> what it does to pictures, in this order."""


def _cut(patterns: Tensor, purpose: str, pictures: Tensor, amounts: Amounts) -> Float[Tensor, "B H W"]:
    """Cut a piece of a random pattern for each picture, at a random place; patterns repeat beyond their edges."""
    num, rows, cols = patterns.shape
    index, top, left = (
        amounts.rng.integers(f"{purpose} {part}", 1, high)
        for part, high in (("pattern", num), ("y", rows), ("x", cols))
    )
    y = (top + torch.arange(pictures.shape[1], device=pictures.device)) % rows
    x = (left + torch.arange(pictures.shape[2], device=pictures.device)) % cols
    flat = (index[..., None] * rows + y[..., None]) * cols + x[:, None]
    return patterns.flatten()[flat]
