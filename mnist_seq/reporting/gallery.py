"""Scenes under what was read in them, for a page."""

from __future__ import annotations

from typing import Any

from mnist_seq.data.datasets import SceneDataset
from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.reporting.data_uri import png_data_uri
from mnist_seq.vocabulary import decode


def prediction_items(scenes: SceneDataset, result: EvalResult, ids: list[int]) -> list[dict[str, Any]]:
    """Scenes with their readings.

    Args:
        ids: of scenes that were judged.
    """
    readings = result.predictions
    both = (decode(each[ids]) for each in (readings.output.digits, readings.digits))
    ended = readings.output.ended[ids].tolist()
    sure, right = readings.output.confidence[ids].tolist(), (result.scene_metrics.exact_match[ids] > 0).tolist()
    return [
        it
        | {
            "digits": mark_correct(read_, truth, readings.ordered) + [("...", False)] * (not ended[at]),
            "right": right[at],
            "sure": f"{sure[at]:.0%}",
        }
        for at, (it, read_, truth) in enumerate(zip(scene_items(scenes, ids), *both, strict=True))
    ]


def scene_items(scenes: SceneDataset, ids: list[int]) -> list[dict[str, Any]]:
    """Scenes with their truth."""
    if not ids:
        return []
    batch = scenes.render(ids)
    drawn = zip(batch.images[:, 0].numpy(force=True), decode(batch.digits), strict=True)
    return [{"image": png_data_uri(image), "truth": format_digits(truth)} for image, truth in drawn]


def display_height(scenes: SceneDataset) -> int:
    """At which a scene is shown: so many times its pixels that about a hundred come out."""
    return scenes.spec.height * max(1, round(96 / scenes.spec.height))


def mark_correct(predicted: list[int], truth: list[int], ordered: bool) -> list[tuple[str, bool]]:
    """What was read, digit by digit, and whether that is right: at its place, or, of a set, at any."""
    left = list(truth)
    found = []
    for place, digit in enumerate(predicted):
        right = truth[place : place + 1] == [digit] if ordered else digit in left
        if right:
            left.remove(digit)
        found.append((str(digit), right))
    return found or [("none", not truth)]


def format_digits(digits: list[int]) -> str:
    """Digits in a line."""
    return " ".join(map(str, digits)) or "none"
