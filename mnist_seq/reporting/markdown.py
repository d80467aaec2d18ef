"""Results of the pretrained models as Markdown tables, and writing them into a file between two markers."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mnist_seq.atomic_io import atomic_write_text
from mnist_seq.config import PublishedScore, ResultsConfig
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.inference import pretrained
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
    rows = [
        {
            "model": row["model"],
            "metric": row["metric"],
            "score, % (95 % interval)": f"{row['score, %']} ({row['95 % interval']})",
            "published, %": row["published, %"],
            "our model is": row["our model is"],
        }
        for row in _protocol_rows(results["protocols"], config)
    ]
    return table(rows) + "\n"


def results_tables(results: dict[str, Any], config: ResultsConfig) -> str:
    """All results as tables: the protocols, error types, corruptions and other data.

    Args:
        results: the content of results.json.
        config: with the published scores and the numbers of scenes.
    """
    protocols = results["protocols"]
    digits = ", ".join(sorted({result["digits"] for result in protocols.values()}))
    intro = f"{config.scenes:,} test scenes per model, {config.robustness_scenes:,} per corruption; digits: {digits}."
    tables = [
        _protocol_rows(protocols, config),
        _error_rows(protocols, results["hard_examples"]),
        _corruption_rows(results["corrupted"]),
        _other_data_rows(results["other_data"]),
    ]
    return "\n\n".join([intro, *(table(rows) for rows in tables if rows)]) + "\n"


def table(rows: list[dict[str, str]]) -> str:
    """Format rows, heading -> cell each; the first column is left-aligned, the others right-aligned."""
    lines = [rows[0], ["---"] + ["---:"] * (len(rows[0]) - 1), *(row.values() for row in rows)]
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


def _protocol_rows(protocols: dict[str, Any], config: ResultsConfig) -> list[dict[str, str]]:
    return [
        _protocol_row(name, result, config.published.get(name, PublishedScore())) for name, result in protocols.items()
    ]


def _protocol_row(name: str, result: dict[str, Any], published: PublishedScore) -> dict[str, str]:
    score, card = result[published.metric], result["card"]
    scores = {card["trained"]["seed"]: score} | {it["seed"]: it[published.metric] for it in result["seeds"]}
    return {
        "model": f"`{name}`",
        "metric": METRIC_LABELS[published.metric],
        "score, %": f"**{100 * score:.2f}**",
        "95 % interval": _format_interval(result, published.metric),
        "over seeds": _format_seeds(scores),
        "published, %": _format_published(published),
        "our model is": _compare_with_published(result, published),
        "parameters": f"{card['parameters']:,}",
        "training": _format_training(card["trained"]),
    }


def _error_rows(protocols: dict[str, Any], hard_examples: dict[str, list[dict[str, int]]]) -> list[dict[str, str]]:
    always_misread = "on digits that are always misread, of those shown more than once"
    return [
        {"errors by type": f"`{name}`"}
        | {_ERROR_LABELS.get(error_type, error_type): str(count) for error_type, count in result["errors"].items()}
        | {always_misread: _format_always_misread(hard_examples.get(name, []))}
        for name, result in protocols.items()
    ]


def _corruption_rows(corrupted: dict[str, dict[str, float]]) -> list[dict[str, str]]:
    return [
        {"exact match, %": label} | {f"`{name}`": f"{100 * scores[label]:.1f}" for name, scores in corrupted.items()}
        for label in next(iter(corrupted.values()))
    ]


def _other_data_rows(other_data: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {"other data": f"`{name}`: {label}", "scenes": f"{summary['scenes']:,}"}
        | {f"{METRIC_LABELS[metric]}, %": f"{100 * summary[metric]:.1f}" for metric in _OTHER_DATA_METRICS}
        | {"95 % interval": _format_interval(summary)}
        for name, summaries in other_data.items()
        for label, summary in summaries.items()
    ]


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


def _format_training(trained: dict[str, Any]) -> str:
    text = f"{trained['scenes'] / 1e6:.1f} M scenes, {trained['seconds'] / 60:.0f} min"
    if str(trained.get("device")).startswith("cuda"):
        text += " on a GPU"
    if "init_from" in trained:
        before = trained.get("pretraining_seconds")
        minutes = "time unknown" if before is None else f"trained for {before / 60:.0f} min"
        text += f", initialized from `{trained['init_from'].removeprefix(pretrained.PREFIX)}` ({minutes})"
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
