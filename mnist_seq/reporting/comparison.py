"""The HTML page of `compare`: models side by side."""

from __future__ import annotations

from typing import Any

from mnist_seq.data.scene_dataset import SceneDataset
from mnist_seq.evaluation.significance import (
    ComparedModel,
    PairedComparison,
    describe_difference,
    format_p_value,
    format_percentage_points,
    letter_labels,
)
from mnist_seq.reporting import gallery, templates

_MAX_DISAGREEMENTS = 24
"""Scenes shown per section."""
Cell = dict[str, Any]
"""Of a table: its text, the value to sort by, and its CSS class."""


def render_models(
    contenders: list[ComparedModel],
    comparisons: list[PairedComparison],
    scenes: SceneDataset,
    subtitle: str,
    notice: str = "",
) -> str:
    """Render a page that compares models with the first one, with the scenes on which they disagree.

    Args:
        contenders: the models; all were evaluated on `scenes`.
        comparisons: one per model after the first.
        subtitle: states split, number of scenes and data.
        notice: warning above the page, e.g. that the digits are not MNIST.
    """
    baseline, letters = contenders[0], letter_labels(contenders)
    rows, disagreements = [], []
    for letter, model, comparison in zip(letters, contenders, [None, *comparisons], strict=True):
        row = [cell(f"{letter}: {model.name}"), percent_cell(model.mean_score), cell(_format_spread(model))]
        if comparison is None:
            rows.append(row + [cell("")] * 4)
            continue
        difference, gained, lost = comparison
        css_class = "" if not difference.significant else "is-correct" if difference.value > 0 else "is-wrong"
        row += [
            cell(format_percentage_points(difference), difference.value),
            cell(format_p_value(difference.p_value), difference.p_value),
            cell(f"{len(gained)}, {len(lost)}" if model.std is None else ""),
            cell(describe_difference(difference), css_class=css_class),
        ]
        rows.append(row)
        disagreements += [
            {
                "title": f"{correct} correct, {wrong} wrong",
                "subtitle": f"{len(ids):,} scenes: the prediction of {letters[0]}, then that of {letter}.",
                "scenes": _paired_items(scenes, baseline, model, ids[:_MAX_DISAGREEMENTS].tolist()),
            }
            for ids, correct, wrong in ((gained, letter, letters[0]), (lost, letters[0], letter))
            if len(ids)
        ]
    spread = "95 % interval" if baseline.std is None else "over seeds"
    return templates.render(
        "comparison.html",
        title=f"Comparison with {baseline.name}",
        heading="Exact match",
        notice=notice,
        subtitle=subtitle,
        columns=["", "exact match", spread, "difference (points)", "p", "fixed, broken", ""],
        rows=rows,
        disagreements=disagreements,
        shown_height=gallery.display_height(scenes),
    )


def _paired_items(
    scenes: SceneDataset, baseline: ComparedModel, other: ComparedModel, ids: list[int]
) -> list[dict[str, Any]]:
    """Scenes with the predictions of two models, `first` and `second`."""
    items = [gallery.prediction_items(scenes, model.results[0], ids) for model in (baseline, other)]
    return [first | {"first": first, "second": second} for first, second in zip(*items, strict=True)]


def _format_spread(model: ComparedModel) -> str:
    if model.std is not None:
        return f"± {100 * model.std:.2f}, {len(model.results)} seeds"
    exact = model.results[0].metrics["exact_match"]
    return f"{exact.low:.2%} to {exact.high:.2%}"


def percent_cell(value: float) -> Cell:
    """A table cell that shows a fraction in percent and sorts by it."""
    return cell(f"{value:.2%}", value)


def cell(text: str, value: Any = "", css_class: str = "") -> Cell:
    """A table cell that shows a text."""
    return {"text": text, "value": value, "css_class": css_class}
