"""Scenes under what was read in them, for a page."""

from __future__ import annotations

from typing import Any

from mnist_seq.data.sets import SceneSet
from mnist_seq.figures.address import png
from mnist_seq.judging.judgement import Judgement
from mnist_seq.tokens import decode


def read(scenes: SceneSet, judgement: Judgement, ids: list[int]) -> list[dict[str, Any]]:
    """Scenes with their readings.

    Args:
        ids: of scenes that were judged.
    """
    readings = judgement.readings
    both = (decode(each[ids]) for each in (readings.readout.digits, readings.digits))
    ended = readings.readout.ended[ids].tolist()
    sure, right = readings.readout.confidence[ids].tolist(), (judgement.verdict.exact[ids] > 0).tolist()
    return [
        it
        | {
            "digits": marked(read_, truth, readings.ordered) + [("...", False)] * (not ended[at]),
            "right": right[at],
            "sure": f"{sure[at]:.0%}",
        }
        for at, (it, read_, truth) in enumerate(zip(shown(scenes, ids), *both, strict=True))
    ]


def shown(scenes: SceneSet, ids: list[int]) -> list[dict[str, Any]]:
    """Scenes with their truth."""
    if not ids:
        return []
    batch = scenes.render(ids)
    drawn = zip(batch.images[:, 0].numpy(force=True), decode(batch.digits), strict=True)
    return [{"image": png(image), "truth": spoken(truth)} for image, truth in drawn]


def height(scenes: SceneSet) -> int:
    """At which a scene is shown: so many times its pixels that about a hundred come out."""
    return scenes.spec.height * max(1, round(96 / scenes.spec.height))


def marked(read_: list[int], truth: list[int], ordered: bool) -> list[tuple[str, bool]]:
    """What was read, digit by digit, and whether that is right: at its place, or, of a set, at any."""
    left = list(truth)
    found = []
    for place, digit in enumerate(read_):
        right = truth[place : place + 1] == [digit] if ordered else digit in left
        if right:
            left.remove(digit)
        found.append((str(digit), right))
    return found or [("none", not truth)]


def spoken(digits: list[int]) -> str:
    """Digits in a line."""
    return " ".join(map(str, digits)) or "none"
