"""Rich tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mnist_seq.evaluation.significance import (
    ComparedModel,
    PairedComparison,
    format_p_value,
    format_percentage_points,
    letter_labels,
)

if TYPE_CHECKING:
    from mnist_seq.evaluation.intervals import Proportion
    from mnist_seq.nn.flops import Cost

METRIC_LABELS = {
    "exact_match": "exact match",
    "digit_accuracy": "digit accuracy",
    "count_accuracy": "count accuracy",
    "multiset_match": "multiset match",
    "end_errors": "missing EOS",
}
"""Metric -> heading."""


def metrics_table(split: str, summary: dict[str, Any], title: str) -> Table:
    """Metrics of a split with 95 % intervals.

    Args:
        summary: `EvalResult.summary()`.
    """
    table = _new_table(title, "", f"{split}, {summary['scenes']:,} scenes")
    for name, label in METRIC_LABELS.items():
        low, high = summary[f"{name}_interval"]
        table.add_row(label, f"{summary[name]:.2%}  ({low:.2%} to {high:.2%})")
    table.add_row("loss (nats per token)", f"{summary['loss']:.4f}")
    return table


def sweep_table(groups: dict[str, dict[str, tuple[float, float, int]]], title: str) -> Table:
    """Groups of runs, best first, with mean and standard deviation over seeds.

    Args:
        groups: label -> metric -> (mean, standard deviation, number of seeds); `seconds` of wall-clock time.
    """
    sizes = ("parameters", "scenes")
    common = [name for name in sizes if len({figures[name][0] for figures in groups.values()}) == 1]
    differ = [name for name in sizes if name not in common]
    first = next(iter(groups.values()))
    table = _new_table(title, "", "seeds", "exact match, val", *differ, "minutes", box=SIMPLE_HEAD)
    table.caption = ", ".join(f"{first[name][0]:,.0f} {name}" for name in common) + (" each" if common else "")
    for name, figures in sorted(groups.items(), key=lambda group: -group[1]["exact_match"][0]):
        exact, spread, seeds = figures["exact_match"]
        table.add_row(
            escape(name),
            str(seeds),
            f"{exact:.2%}" + (f" ± {spread:.2%}" if seeds > 1 else ""),
            *(f"{figures[name][0]:,.0f}" for name in differ),
            f"{figures['seconds'][0] / 60:.1f}",
        )
    return table


def comparison_table(contenders: list[ComparedModel], comparisons: list[PairedComparison]) -> Table:
    """Models labelled A, B, ..., each compared with the first.

    Args:
        comparisons: one per model after the first.
    """
    table = _new_table(None, "", "exact match", "difference (points)", "p", "fixed, broken")
    for letter, model, comparison in zip(letter_labels(contenders), contenders, [None, *comparisons], strict=True):
        score = f"{model.mean_score:.2%}" + (f" ± {model.std:.2%}" if model.std is not None else "")
        if comparison is None:
            table.add_row(letter, score)
            continue
        difference, gained, lost = comparison
        counts = f"{len(gained)}, {len(lost)}" if model.std is None else ""
        table.add_row(letter, score, format_percentage_points(difference), format_p_value(difference.p_value), counts)
    return table


def trials_table(trials: list[tuple[int, float, dict[str, Any]]], title: str) -> Table:
    """Trials of a search.

    Args:
        trials: number, exact match on val and hyperparameters of each.
    """
    table = _new_table(title, "trial", "exact match, val")
    table.columns[0].justify = "right"
    table.add_column("", overflow="fold")
    for number, score, params in trials:
        values = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in params.values())
        overrides = " ".join(map("=".join, zip(params, values, strict=True)))
        table.add_row(str(number), f"{score:.2%}", escape(overrides))
    return table


def model_summary(parts: dict[str, Cost], title: str) -> Table:
    """Parameters, FLOPs and activations of each part of a model, for one scene.

    Args:
        parts: module name -> cost, as `nn.flops` returns it.
    """
    table = _new_table(title, "", "parameters", "MFLOPs", "activations (KiB)")
    table.caption = "teacher-forced forward pass of one scene; a training step takes 3x the FLOPs"
    for name, (parameters, flops, activations) in parts.items():
        depth = name.count(".") + 1 if name else 0
        if depth <= 2 and (parameters or flops or activations):
            label = "  " * depth + name.rpartition(".")[2] if name else "all"
            table.add_row(label, f"{parameters:,}", f"{flops / 1e6:,.2f}", f"{activations / 1024:,.1f}")
    return table


def benchmark_table(measurements: Iterable[tuple[str, str, float, float, float]], title: str) -> Table:
    """Minimum, median and maximum of each measurement.

    Args:
        measurements: name, unit, minimum, median and maximum.
    """
    table = _new_table(title, "", "min", "median", "max")
    table.add_column("", no_wrap=True)
    for name, unit, *values in measurements:
        table.add_row(name, *(f"{value:,.2f}" if value < 100 else f"{value:,.0f}" for value in values), unit)
    return table


def ocr_table(rows: Iterable[tuple[str, Proportion, tuple[float, float, float], float]], title: str) -> Table:
    """Readers of the same pictures.

    Args:
        rows: reader, exact match, milliseconds a picture (median, 5th and 95th percentile) and megabytes of each.
    """
    table = _new_table(title, "", "exact match (95 %)", "ms (5 to 95 %)", "MB", box=SIMPLE_HEAD)
    table.caption = "intervals: 95 % confidence of exact match; 5th to 95th percentile of ms over the pictures"
    for reader, (value, low, high, _), (median, fast, slow), megabytes in rows:
        exact_match = f"{value:.1%} ({100 * low:.1f} to {100 * high:.1f})"
        table.add_row(escape(reader), exact_match, f"{median:.1f} ({fast:.1f} to {slow:.1f})", f"{megabytes:.1f}")
    return table


def key_value_table(values: dict[str, Any], title: str) -> Table:
    """One row per key."""
    table = _new_table(title, show_header=False)
    for name, value in values.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    return table


def _new_table(title: str | None, *columns: str, **options: Any) -> Table:
    """A table without rows. Columns after the first are right-aligned, and keep their width on a narrow terminal."""
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left", **options)
    for column in columns[:1]:
        table.add_column(column, overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table
