"""Results of the pretrained models as Markdown tables, and writing them into a file between two markers."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mnist_seq.atomic_io import atomic_write_text
from mnist_seq.config import PublishedScore, ResultsConfig
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.reporting.tables import METRIC_LABELS

_OTHER_DATA_METRICS = ("digit_accuracy", "count_accuracy", "exact_match")
_ERROR_LABELS = {
    "it did not end": "missing EOS",
    "wrong number of digits": "wrong length",
    "the right digits in another order": "wrong order",
}
"""Error type -> heading, where they differ."""


def headline_table(results: dict[str, Any], config: ResultsConfig) -> str:
    """The main result of each model as a table.

    Args:
        results: the content of results.json.
        config: with the published scores.
    """
    rows = []
    for name, result in results["protocols"].items():
        published = config.published.get(name, PublishedScore())
        score = f"**{100 * result[published.metric]:.2f}** ({_format_interval(result, published.metric)})"
        rows.append(
            [
                f"`{name}`",
                METRIC_LABELS[published.metric],
                score,
                _format_published(published),
                _compare_with_published(result, published),
            ]
        )
    return table(["model", "metric", "score, % (95 % interval)", "published, %", "our model is"], rows) + "\n"


def results_tables(results: dict[str, Any], config: ResultsConfig) -> str:
    """All results as tables: the protocols, error types, corruptions and other data.

    Args:
        results: the content of results.json.
        config: with the published scores and the numbers of scenes.
    """
    protocols = results["protocols"]
    digits = ", ".join(sorted({result["digits"] for result in protocols.values()}))
    intro = f"{config.scenes:,} test scenes per model, {config.robustness_scenes:,} per corruption; digits: {digits}."
    parts = [intro, _protocols_table(protocols, config), _errors_table(protocols, results["hard_examples"])]
    parts.append(_corruptions_table(results["corrupted"]))
    if any(results["other_data"].values()):
        parts.append(_other_data_table(results["other_data"]))
    return "\n\n".join(parts) + "\n"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Format a table; the first column is left-aligned, the others right-aligned."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def require_markers(key: str, path: Path, marker: str) -> None:
    """Check that a file has the two lines <!-- marker --> and <!-- /marker -->.

    Args:
        key: the config key that names the file, for errors.
        path: the Markdown file.
        marker: the name in the two lines.

    Raises:
        NotFoundError: there is no such file.
        UserError: it has no such lines.
    """
    if not path.is_file():
        raise NotFoundError(f"{key}={path} does not exist: give a Markdown file, or leave it out")
    begin, end = _markers(marker)
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines.count(begin) != 1 or lines.count(end) != 1 or lines.index(begin) > lines.index(end):
        raise UserError(f"{key}={path} needs a line {begin} and, after it, a line {end}: the table goes between them")


def replace_between_markers(path: Path, marker: str, text: str) -> None:
    """Replace the lines between <!-- marker --> and <!-- /marker -->."""
    begin, end = _markers(marker)
    lines = path.read_text(encoding="utf-8").splitlines()
    before, after = lines[: lines.index(begin) + 1], lines[lines.index(end) :]
    atomic_write_text(path, "\n".join([*before, text.rstrip("\n"), *after]) + "\n")


def _markers(marker: str) -> tuple[str, str]:
    return f"<!-- {marker} -->", f"<!-- /{marker} -->"


def _protocols_table(protocols: dict[str, Any], config: ResultsConfig) -> str:
    header = ["model", "metric", "score, %", "95 % interval", "over seeds", "published, %", "our model is"]
    rows = [
        _protocol_row(name, result, config.published.get(name, PublishedScore())) for name, result in protocols.items()
    ]
    return table([*header, "parameters", "training"], rows)


def _protocol_row(name: str, result: dict[str, Any], published: PublishedScore) -> list[str]:
    score, card = result[published.metric], result["card"]
    scores = {card["trained"]["seed"]: score} | {it["seed"]: it[published.metric] for it in result["seeds"]}
    return [
        f"`{name}`",
        METRIC_LABELS[published.metric],
        f"**{100 * score:.2f}**",
        _format_interval(result, published.metric),
        _format_seeds(scores),
        _format_published(published),
        _compare_with_published(result, published),
        f"{card['parameters']:,}",
        _format_training(card["trained"], result["pretraining_seconds"]),
    ]


def _errors_table(protocols: dict[str, Any], hard_examples: dict[str, list[dict[str, int]]]) -> str:
    error_types = next(iter(protocols.values()))["errors"]
    header = ["errors by type", *(_ERROR_LABELS.get(error_type, error_type) for error_type in error_types)]
    header.append("on digits that are always misread, of those shown more than once")
    rows = [
        [f"`{name}`", *map(str, result["errors"].values()), _format_always_misread(hard_examples.get(name, []))]
        for name, result in protocols.items()
    ]
    return table(header, rows)


def _corruptions_table(corrupted: dict[str, dict[str, float]]) -> str:
    labels = next(iter(corrupted.values()))
    rows = [[label, *(f"{100 * scores[label]:.1f}" for scores in corrupted.values())] for label in labels]
    return table(["exact match, %", *(f"`{name}`" for name in corrupted)], rows)


def _other_data_table(other_data: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            f"`{name}`: {label}",
            f"{summary['scenes']:,}",
            *(f"{100 * summary[metric]:.1f}" for metric in _OTHER_DATA_METRICS),
            _format_interval(summary),
        ]
        for name, summaries in other_data.items()
        for label, summary in summaries.items()
    ]
    metrics = [f"{METRIC_LABELS[metric]}, %" for metric in _OTHER_DATA_METRICS]
    return table(["other data", "scenes", *metrics, "95 % interval"], rows)


def _compare_with_published(result: dict[str, Any], published: PublishedScore) -> str:
    """Whether the interval excludes the published score; empty where there is none, or on other digits than MNIST."""
    if published.score is None or result["digits"] != "mnist":
        return ""
    low, high = result[f"{published.metric}_interval"]
    if low <= published.score <= high:
        return "not significantly different"
    return "significantly better" if low > published.score else "significantly worse"


def _format_published(published: PublishedScore) -> str:
    return "none" if published.score is None else f"{100 * published.score:.2f}, {published.source}"


def _format_training(trained: dict[str, Any], pretraining_seconds: float) -> str:
    minutes = trained["seconds"] / 60
    text = f"{trained['scenes'] / 1e6:.1f} M scenes, {minutes:.0f} min"
    if "init_from" in trained:
        text += f", initialised from `{trained['init_from']}` ({minutes + pretraining_seconds / 60:.0f} min in total)"
    return text


def _format_interval(result: dict[str, Any], metric: str = "exact_match") -> str:
    low, high = result[f"{metric}_interval"]
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _format_always_misread(hard_examples: list[dict[str, int]]) -> str:
    """Of the errors on digits that were shown more than once, those on digits that were misread each time."""
    repeated = [it for it in hard_examples if it["num_shown"] > 1]
    always = [it["num_errors"] for it in repeated if it["num_errors"] == it["num_shown"]]
    if not repeated:
        return ""
    return f"{sum(always)} of {sum(it['num_errors'] for it in repeated)} ({len(always)} digits)"


def _format_seeds(scores: dict[int, float]) -> str:
    """Mean and standard deviation over seeds, %; of a single seed, the seed."""
    seeds = ", ".join(map(str, scores))
    if len(scores) == 1:
        return f"seed {seeds}"
    values = [100 * score for score in scores.values()]
    return f"{mean(values):.2f} ± {stdev(values):.2f}, seeds {seeds}"
