"""Pages on which readers, or the runs of a sweep, stand side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnist_seq.data.datasets import SceneDataset
from mnist_seq.evaluation.significance import (
    ComparedModel,
    PairedComparison,
    describe_difference,
    format_p_value,
    format_percentage_points,
    letter_labels,
)
from mnist_seq.reporting import curves, gallery, templates

if TYPE_CHECKING:
    from mnist_seq.sweeps.sweep_runs import SweepRun

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
        [_cell(f"{here}: {first.name}"), _percent_cell(first.mean_score), *_spread_cell(first), *([_cell("")] * 4)]
    ]
    flipped = []
    for letter, other, versus in zip(others, contenders[1:], comparisons, strict=True):
        found = versus.difference
        classes = {"significantly better": "is-right", "significantly worse": "is-wrong"}
        mark = classes.get(describe_difference(found), "")
        numbers = f"{len(versus.gained)} gained, {len(versus.lost)} lost" if len(first.results) == 1 else ""
        rows.append(
            [
                _cell(f"{letter}: {other.name}"),
                _percent_cell(other.mean_score),
                *_spread_cell(other),
                _cell(format_percentage_points(found), found.value),
                _cell(format_p_value(found.p_value), found.p_value),
                _cell(numbers),
                _cell(describe_difference(found), css_class=mark),
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


def render_sweep(members: list[SweepRun], name: str) -> str:
    """The runs of a sweep in a table that can be sorted, and a drawing of each key that was swept."""
    keys = sorted({key for member in members for key in member.distinguishing_settings})
    notice = " ".join(sorted({member.notice for member in members} - {""}))
    figures = ["exact_match", "digit_accuracy", "parameters", "scenes", "seconds"]
    rows = [
        [
            *(
                _cell(member.distinguishing_settings.get(key, ""), member.distinguishing_settings.get(key, ""))
                for key in keys
            ),
            _cell(str(member.seed), member.seed),
            *(_percent_cell(member.metrics[name]) for name in figures[:2]),
            *(_cell(f"{member.metrics[name]:,.0f}", member.metrics[name]) for name in figures[2:]),
            _cell(member.path.name, css_class="path"),
        ]
        for member in sorted(members, key=lambda it: -it.metrics["exact_match"])
    ]
    drawings = []
    for key in sorted({key for member in members for key in member.overrides}):
        swept: dict[str, list[tuple[str, float]]] = {}
        for it in members:
            if key in it.overrides:
                swept.setdefault(it.condition, []).append((it.overrides[key], it.metrics["exact_match"]))
        if len({value for each in swept.values() for value, _ in each}) > 1:
            drawings.append(templates.svg(curves.hyperparameter_effect(key, swept, notice), key))
    return templates.render(
        "comparison.html",
        title=name,
        heading=f"{len(members)} runs",
        notice=notice,
        said="Figures are of val. Click a column's head to sort by it.",
        columns=[*keys, "seed", "exact match", "digits", *figures[2:], "run"],
        rows=rows,
        flipped=[],
        drawings=drawings,
        sortable=True,
    )


def _paired_items(
    scenes: SceneDataset, first: ComparedModel, other: ComparedModel, ids: list[int]
) -> list[dict[str, Any]]:
    one, two = (gallery.prediction_items(scenes, it.results[0], ids) for it in (first, other))
    return [left | {"first": left, "second": right} for left, right in zip(one, two, strict=True)]


def _spread_cell(contender: ComparedModel) -> Row:
    if contender.std is not None:
        return [_cell(f"± {100 * contender.std:.2f}, {len(contender.results)} seeds")]
    exact = contender.results[0].metrics["exact_match"]
    return [_cell(f"{exact.low:.2%} to {exact.high:.2%}")]


def _percent_cell(value: float) -> dict[str, Any]:
    return _cell(f"{value:.2%}", value)


def _cell(text: str, value: Any = "", css_class: str = "") -> dict[str, Any]:
    return {"text": text, "value": value, "mark": css_class}
