"""The HTML page of a sweep: `python -m mnist_seq.compare runs=[outputs/sweep]`."""

from __future__ import annotations

from markupsafe import Markup

from mnist_seq.reporting import curves, templates
from mnist_seq.reporting.comparison import cell, percent_cell
from mnist_seq.sweeps.sweep_runs import SweepRun, notices

_PERCENTAGES = ("exact_match", "digit_accuracy")
_COUNTS = ("parameters", "scenes", "seconds")


def render_sweep(runs: list[SweepRun], title: str) -> str:
    """Render the runs of a sweep as a sortable table, best first, with a plot of each key that was swept."""
    keys = sorted({key for run in runs for key in run.distinguishing_settings})
    notice = " ".join(notices(runs))
    rows = [
        [
            *(cell(value, value) for value in (run.distinguishing_settings.get(key, "") for key in keys)),
            cell(str(run.seed), run.seed),
            *(percent_cell(run.metrics[name]) for name in _PERCENTAGES),
            *(cell(f"{run.metrics[name]:,.0f}", run.metrics[name]) for name in _COUNTS),
            cell(run.path.name, css_class="path"),
        ]
        for run in sorted(runs, key=lambda run: -run.metrics["exact_match"])
    ]
    return templates.render(
        "comparison.html",
        title=title,
        heading=f"{len(runs)} runs",
        notice=notice,
        subtitle="Metrics on val. Click a column header to sort by it.",
        columns=[*keys, "seed", "exact match", "digit accuracy", *_COUNTS, "run"],
        rows=rows,
        plots=_hyperparameter_plots(runs, notice),
        sortable=True,
    )


def _hyperparameter_plots(runs: list[SweepRun], notice: str) -> list[Markup]:
    """An SVG of exact match against each override that takes more than one value."""
    plots: list[Markup] = []
    for key in sorted({key for run in runs for key in run.overrides}):
        scores: dict[str, list[tuple[str, float]]] = {}
        for run in runs:
            if key in run.overrides:
                scores.setdefault(run.condition, []).append((run.overrides[key], run.metrics["exact_match"]))
        if len({value for points in scores.values() for value, _ in points}) > 1:
            plots.append(templates.svg(curves.hyperparameter_effect(key, scores, notice), key))
    return plots
