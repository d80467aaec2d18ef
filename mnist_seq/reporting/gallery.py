"""Scenes with their predictions, as items of an HTML page."""

from __future__ import annotations

from typing import Any

from mnist_seq.data.scene_dataset import SceneDataset
from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.reporting.data_uri import png_data_uri
from mnist_seq.vocabulary import decode


def prediction_items(scenes: SceneDataset, result: EvalResult, ids: list[int]) -> list[dict[str, Any]]:
    """Scenes with their predictions, one dict each for the macros of macros.html.

    Args:
        ids: of evaluated scenes.
    """
    predictions = result.predictions
    output, targets = predictions.output.select(ids), decode(predictions.digits[ids])
    correct = (result.scene_metrics.exact_match[ids] > 0).tolist()
    items = scene_items(scenes, ids)
    for index, (item, predicted, target) in enumerate(zip(items, decode(output.digits), targets, strict=True)):
        item["digits"] = mark_correct(predicted, target, predictions.ordered)
        item["digits"] += [("...", False)] * (not output.ended[index])
        item |= {"correct": correct[index], "confidence": f"{output.confidence[index]:.0%}"}
        item["file"] = predictions.files[ids[index]] if predictions.files else None
    return items


def scene_items(scenes: SceneDataset, ids: list[int]) -> list[dict[str, Any]]:
    """Scenes with their labels, one dict each."""
    if not ids:
        return []
    batch = scenes.render(ids)
    images, labels = batch.images[:, 0].numpy(force=True), map(format_digits, decode(batch.digits))
    return [{"image": png_data_uri(image), "label": label} for image, label in zip(images, labels, strict=True)]


def display_height(scenes: SceneDataset) -> int:
    """CSS height of a scene, pixels: the multiple of its own height that is closest to 96."""
    return scenes.spec.height * max(1, round(96 / scenes.spec.height))


def mark_correct(predicted: list[int], target: list[int], ordered: bool) -> list[tuple[str, bool]]:
    """Mark each predicted digit as correct or not: at its position or, if unordered, at any."""
    remaining = list(target)
    marked = []
    for position, digit in enumerate(predicted):
        correct = target[position : position + 1] == [digit] if ordered else digit in remaining
        if correct:
            remaining.remove(digit)
        marked.append((str(digit), correct))
    return marked or [("none", not target)]


def format_digits(digits: list[int]) -> str:
    """Digits as text, "none" if there are none."""
    return " ".join(map(str, digits)) or "none"
