"""Reference implementations of three published protocols in NumPy: one scene at a time, line by line as worded.

Pixels are uint8 in 0..255, x to the right and y downwards, and integer ranges include both ends. Sampling and rendering
are separate, so that the same draw can be rendered elsewhere and compared pixel by pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
"""A pool of digits, P 28 28."""

DIGIT = 28
"""Side of a digit, pixels."""


def uniform(generator: np.random.Generator, low: int, high: int) -> int:
    """Draw a uniform integer in low..high, both included."""
    return int(generator.integers(low, high, endpoint=True))


# MultiMNIST (Sabour, Frosst, Hinton 2017)

PAD = 4
"""Empty pixels on each side of a digit."""
FRAME = DIGIT + 2 * PAD
"""Side of the image, 36 pixels."""


@dataclass
class MultiDraw:
    """The random draws of one image."""

    digits: tuple[int, int]
    """Indices into the pool."""
    shifts: tuple[tuple[int, int], tuple[int, int]]
    """(x, y) of each digit, pixels."""


def draw_multimnist(labels: NDArray[np.integer[Any]], generator: np.random.Generator, shift: int) -> MultiDraw:
    """Draw a pair and its shifts, in -shift..shift pixels; `labels`, P, are the classes of the pool."""
    first = uniform(generator, 0, len(labels) - 1)
    if (labels == labels[first]).all():
        raise ValueError("the pool has one class: no second digit can differ")
    second = uniform(generator, 0, len(labels) - 1)
    while labels[second] == labels[first]:  # the second digit has another class
        second = uniform(generator, 0, len(labels) - 1)
    first_shift = (uniform(generator, -shift, shift), uniform(generator, -shift, shift))
    second_shift = (uniform(generator, -shift, shift), uniform(generator, -shift, shift))
    return MultiDraw((first, second), (first_shift, second_shift))


def shifted(padded: NDArray[np.uint8], shift: tuple[int, int]) -> NDArray[np.uint8]:
    """Shift an image, 36 36, by (x, y) pixels: what leaves the frame is lost, what enters is empty."""
    moved = np.zeros((FRAME, FRAME), np.uint8)
    for y in range(FRAME):
        for x in range(FRAME):
            to_x, to_y = x + shift[0], y + shift[1]
            if 0 <= to_x < FRAME and 0 <= to_y < FRAME:
                moved[to_y, to_x] = padded[y, x]
    return moved


def render_multimnist(images: Images, draw: MultiDraw) -> NDArray[np.uint8]:
    """Render the image, 36 36: two digits padded, shifted, added and clipped at 255."""
    total = np.zeros((FRAME, FRAME), np.int64)
    for digit, shift in zip(draw.digits, draw.shifts, strict=True):
        padded = np.zeros((FRAME, FRAME), np.uint8)
        padded[PAD : PAD + DIGIT, PAD : PAD + DIGIT] = images[digit]
        total += shifted(padded, shift)
    return np.minimum(total, 255).astype(np.uint8)


# Cluttered sequence (Sonderby et al. 2015)

CANVAS = 100
"""Side of the canvas, pixels."""
LENGTH = 3
"""Digits in a scene."""
MARGIN = (CANVAS - LENGTH * DIGIT) // 2
"""x0 of the protocol, 8 pixels."""
NUM_DISTRACTORS = 8
"""Distractors in a scene."""
PATCH = 9
"""Side of a distractor, pixels."""


@dataclass
class Distractor:
    """A 9x9 patch of a digit."""

    digit: int
    """Index into the pool of distractors."""
    cut: tuple[int, int]
    """(x, y) of its upper left corner in the digit, 0..18."""
    place: tuple[int, int]
    """(x, y) of its upper left corner on the canvas, 0..90."""


@dataclass
class ClutterDraw:
    """The random draws of one scene."""

    digits: tuple[int, int, int]
    """Indices into the pool, from left to right."""
    start: int
    """u of the protocol: x of the first digit, less 8, in -8..7."""
    top: int
    """y of the first digit before it is moved into the canvas, 0..99."""
    slope: int
    """Added to y per digit, -14..13."""
    distractors: list[Distractor]
    """8 distractors, in the order they are pasted."""


def draw_cluttered(pool_size: int, distractor_pool_size: int, generator: np.random.Generator) -> ClutterDraw:
    """Draw a scene: digits from one pool, distractors from another, all independent."""
    first, second, third = (uniform(generator, 0, pool_size - 1) for _ in range(LENGTH))
    start = uniform(generator, -8, 7)
    top = uniform(generator, 0, 99)
    slope = uniform(generator, -14, 13)
    distractors = []
    for _ in range(NUM_DISTRACTORS):
        digit = uniform(generator, 0, distractor_pool_size - 1)
        cut = (uniform(generator, 0, 18), uniform(generator, 0, 18))
        place = (uniform(generator, 0, 90), uniform(generator, 0, 90))
        distractors.append(Distractor(digit, cut, place))
    return ClutterDraw((first, second, third), start, top, slope, distractors)


def positions(draw: ClutterDraw) -> list[tuple[int, int]]:
    """Compute (x, y) of each digit's upper left corner on the canvas, pixels."""
    corners = []
    for k in range(LENGTH):
        x = MARGIN + draw.start + k * DIGIT  # edge to edge
        y = draw.top + k * draw.slope  # from the first as drawn: moving one digit does not move the next
        if y + DIGIT - 1 > 99:  # the lower edge would pass 99: moved up to end at 99
            y = 99 - (DIGIT - 1)
        if y < 0:  # the upper edge would be negative: moved to 0
            y = 0
        corners.append((x, y))
    return corners


def render_cluttered(images: Images, distractor_images: Images, draw: ClutterDraw) -> NDArray[np.uint8]:
    """Render the scene, 100 100: distractors pasted over one another, digits added to that, clipped at 255."""
    canvas = np.zeros((CANVAS, CANVAS), np.int64)
    for distractor in draw.distractors:
        (cut_x, cut_y), (x, y) = distractor.cut, distractor.place
        patch = distractor_images[distractor.digit, cut_y : cut_y + PATCH, cut_x : cut_x + PATCH]
        canvas[y : y + PATCH, x : x + PATCH] = patch  # a later one hides an earlier one, its empty pixels too
    for digit, (x, y) in zip(draw.digits, positions(draw), strict=True):
        canvas[y : y + DIGIT, x : x + DIGIT] += images[digit]
    return np.minimum(canvas, 255).astype(np.uint8)


# Multi-digit MNIST (github.com/kingyiusuen/handwritten-multi-digit-number-recognition)

LONGEST = 5
"""Largest number of digits."""
LARGEST_OVERLAP = 0.4
"""Of neighbouring frames, as a fraction of their width."""


@dataclass
class NumberDraw:
    """The random draws of one image."""

    digits: list[int]
    """Indices into the pool."""
    overlap: int
    """Of neighbouring frames, pixels."""
    padding: int
    """Empty frames before the first digit."""


def draw_number(labels: NDArray[np.integer[Any]], generator: np.random.Generator) -> NumberDraw:
    """Draw a number, its digits, their overlap and its place; `labels`, P, are the classes of the pool."""
    lengths = np.arange(1, LONGEST + 1)
    length = int(generator.choice(lengths, p=lengths / lengths.sum()))
    number = str(uniform(generator, 10 ** (length - 1), 10**length - 1))
    digits = [int(generator.choice(np.flatnonzero(labels == int(digit)))) for digit in number]
    overlap = int(generator.uniform(0, LARGEST_OVERLAP) * DIGIT)
    return NumberDraw(digits, overlap, uniform(generator, 0, LONGEST - length))


def render_number(images: Images, draw: NumberDraw) -> NDArray[np.uint8]:
    """Paste each frame over the edge of the one before it, where the larger of the two pixels stays; 32 140."""
    canvas = np.zeros((32, DIGIT * LONGEST), np.uint8)
    for slot, index in enumerate(draw.digits, draw.padding):
        x = slot * (DIGIT - draw.overlap)
        frame = images[index].copy()
        frame[:, : draw.overlap] = np.maximum(frame[:, : draw.overlap], canvas[2:30, x : x + draw.overlap])
        canvas[2:30, x : x + DIGIT] = frame
    return canvas
