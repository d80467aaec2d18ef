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

_MAX_FLIPPED = 24
Row = list[dict[str, Any]]


def render_models(
    contenders: list[ComparedModel],
    comparisons: list[PairedComparison],
    scenes: SceneDataset,
    subtitle: str,
    notice: str = "",
) -> str:
    """Contenders, each against the first, and the scenes that only one of two reads right.

    Args:
        against: each but the first against the first.
    """
    first, (here, *others) = contenders[0], letter_labels(contenders)
    rows: list[Row] = [
        [cell(f"{here}: {first.name}"), percent_cell(first.mean_score), *_spread_cell(first), *([cell("")] * 4)]
    ]
    flipped = []
    for letter, other, versus in zip(others, contenders[1:], comparisons, strict=True):
        found = versus.difference
        mark = {"better": "is-right", "worse": "is-wrong"}.get(describe_difference(found), "")
        numbers = f"{len(versus.gained)} gained, {len(versus.lost)} lost" if len(first.results) == 1 else ""
        rows.append(
            [
                cell(f"{letter}: {other.name}"),
                percent_cell(other.mean_score),
                *_spread_cell(other),
                cell(format_percentage_points(found), found.value),
                cell(format_p_value(found.p_value), found.p_value),
                cell(numbers),
                cell(describe_difference(found), css_class=mark),
            ]
        )
        for ids, ahead, behind in ((versus.gained, letter, here), (versus.lost, here, letter)):
            if len(ids):
                flipped.append(
                    {
                        "title": f"{ahead} reads right, {behind} does not",
                        "said": f"{len(ids)} scenes; first what {here} reads, below it what {letter} reads.",
                        "scenes": _paired_items(scenes, first, other, ids[:_MAX_FLIPPED].tolist()),
                    }
                )
    return templates.render(
        "comparison.html",
        title=" or ".join([here, *others]) + "?",
        heading="Exact match",
        notice=notice,
        said=subtitle,
        columns=["", "exact match", "95 %" if first.std is None else "over seeds", "points more", "p", "scenes", ""],
        rows=rows,
        flipped=flipped,
        drawings=[],
        sortable=False,
        shown_height=gallery.display_height(scenes),
    )


def _paired_items(
    scenes: SceneDataset, first: ComparedModel, other: ComparedModel, ids: list[int]
) -> list[dict[str, Any]]:
    one, two = (gallery.prediction_items(scenes, it.results[0], ids) for it in (first, other))
    return [left | {"first": left, "second": right} for left, right in zip(one, two, strict=True)]


def _spread_cell(contender: ComparedModel) -> Row:
    if contender.std is not None:
        return [cell(f"± {100 * contender.std:.2f}, {len(contender.results)} seeds")]
    exact = contender.results[0].metrics["exact_match"]
    return [cell(f"{exact.low:.2%} to {exact.high:.2%}")]


def percent_cell(value: float) -> dict[str, Any]:
    """A table cell that shows a fraction in per cent and sorts by it."""
    return cell(f"{value:.2%}", value)


def cell(text: str, value: Any = "", css_class: str = "") -> dict[str, Any]:
    """A table cell of the template: its text, the value to sort by and its CSS class."""
    return {"text": text, "value": value, "mark": css_class}
