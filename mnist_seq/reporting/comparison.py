"""The HTML page of `compare`: models side by side."""

from __future__ import annotations

from typing import Any

from mnist_seq.data.datasets import SceneDataset
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
Row = list[dict[str, Any]]
"""Cells of a table row: text, value to sort by, CSS class."""


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
    baseline, (baseline_letter, *letters) = contenders[0], letter_labels(contenders)
    rows: list[Row] = [
        [
            cell(f"{baseline_letter}: {baseline.name}"),
            percent_cell(baseline.mean_score),
            *_spread_cell(baseline),
            *([cell("")] * 4),
        ]
    ]
    disagreements = []
    for letter, other, comparison in zip(letters, contenders[1:], comparisons, strict=True):
        difference = comparison.difference
        css_class = "" if not difference.significant else "is-correct" if difference.value > 0 else "is-wrong"
        counts = f"{len(comparison.gained)}, {len(comparison.lost)}" if len(baseline.results) == 1 else ""
        rows.append(
            [
                cell(f"{letter}: {other.name}"),
                percent_cell(other.mean_score),
                *_spread_cell(other),
                cell(format_percentage_points(difference), difference.value),
                cell(format_p_value(difference.p_value), difference.p_value),
                cell(counts),
                cell(describe_difference(difference), css_class=css_class),
            ]
        )
        for ids, correct, wrong in (
            (comparison.gained, letter, baseline_letter),
            (comparison.lost, baseline_letter, letter),
        ):
            if len(ids):
                disagreements.append(
                    {
                        "title": f"{correct} correct, {wrong} wrong",
                        "subtitle": f"{len(ids):,} scenes: the prediction of {baseline_letter}, then that of {letter}.",
                        "scenes": _paired_items(scenes, baseline, other, ids[:_MAX_DISAGREEMENTS].tolist()),
                    }
                )
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
        plots=[],
        sortable=False,
        shown_height=gallery.display_height(scenes),
    )


def _paired_items(
    scenes: SceneDataset, baseline: ComparedModel, other: ComparedModel, ids: list[int]
) -> list[dict[str, Any]]:
    """Scenes with the predictions of two models, `first` and `second`."""
    items = [gallery.prediction_items(scenes, model.results[0], ids) for model in (baseline, other)]
    return [first | {"first": first, "second": second} for first, second in zip(*items, strict=True)]


def _spread_cell(contender: ComparedModel) -> Row:
    if contender.std is not None:
        return [cell(f"± {100 * contender.std:.2f}, {len(contender.results)} seeds")]
    exact = contender.results[0].metrics["exact_match"]
    return [cell(f"{exact.low:.2%} to {exact.high:.2%}")]


def percent_cell(value: float) -> dict[str, Any]:
    """A table cell that shows a fraction in percent and sorts by it."""
    return cell(f"{value:.2%}", value)


def cell(text: str, value: Any = "", css_class: str = "") -> dict[str, Any]:
    """A table cell: its text, the value to sort by and its CSS class."""
    return {"text": text, "value": value, "css_class": css_class}
