"""Tables in Markdown, and where they stand in a file."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mnist_seq.atomic_io import atomic_write_text
from mnist_seq.config import PublishedScore, ResultsConfig
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.reporting.tables import METRIC_LABELS

_TRANSFER_METRICS = ("digit_accuracy", "count_accuracy", "exact_match")
_BEGIN_MARKER, _END_MARKER = "<!-- results -->", "<!-- /results -->"


def results_tables(results: dict[str, Any], config: ResultsConfig) -> str:
    """What `python -m mnist_seq.results` found, as tables."""
    protocols, disturbed, elsewhere = results["protocols"], results["disturbed"], results["elsewhere"]
    header = ["reader", "counted", "right, %", "95 % interval", "over seeds", "others, %", "ahead"]
    kinds = next(iter(protocols.values()))["errors"]
    anchors = {name: config.published.get(name, PublishedScore()) for name in protocols}
    sources = ", ".join(sorted({each["digits"] for each in protocols.values()}))
    parts = [
        f"{config.scenes:,} test scenes a reader, {config.robustness_scenes:,} of each kind where they are disturbed; "
        f"digits: {sources}.",
        table(
            [*header, "parameters", "training"],
            [_protocol_row(name, protocols[name], each) for name, each in anchors.items()],
        ),
        table(
            ["wrong readings", *kinds, "of misread digits that are shown again, those misread each time"],
            [_error_row(name, each, results["misread"].get(name)) for name, each in protocols.items()],
        ),
        table(
            ["exact match, %", *(f"`{name}`" for name in disturbed)],
            [
                [what, *(f"{100 * each[what]:.1f}" for each in disturbed.values())]
                for what in next(iter(disturbed.values()))
            ],
        ),
    ]
    rows = [
        [
            f"`{name}`: {what}",
            f"{it['scenes']:,}",
            *(f"{100 * it[key]:.1f}" for key in _TRANSFER_METRICS),
            _format_interval(it),
        ]
        for name, scenes in elsewhere.items()
        for what, it in scenes.items()
    ]
    if rows:
        measures = [f"{METRIC_LABELS[key]}, %" for key in _TRANSFER_METRICS]
        parts.append(table(["other scenes", "scenes", *measures, "95 % interval"], rows))
    return "\n\n".join(parts) + "\n"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table, the first column of which names the row."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def require_markers(path: Path) -> None:
    """Refuse a file without the two lines between which results stand.

    Raises:
        FileNotFoundError, ValueError: no such file, or no such lines in it.
    """
    if not path.is_file():
        raise NotFoundError(f"readme={path} does not exist: give a Markdown file, or leave it out")
    lines = path.read_text(encoding="utf-8").splitlines()
    if (
        lines.count(_BEGIN_MARKER) != 1
        or lines.count(_END_MARKER) != 1
        or lines.index(_BEGIN_MARKER) > lines.index(_END_MARKER)
    ):
        raise UserError(
            f"readme={path} needs a line {_BEGIN_MARKER} and, after it, a line {_END_MARKER}: the tables go between"
        )


def replace_between_markers(path: Path, text: str) -> None:
    """Replace what stands between the two lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    before, after = lines[: lines.index(_BEGIN_MARKER) + 1], lines[lines.index(_END_MARKER) :]
    atomic_write_text(path, "\n".join([*before, text.rstrip("\n"), *after]) + "\n")


def _protocol_row(name: str, result: dict[str, Any], baseline: PublishedScore) -> list[str]:
    score, (low, high) = result[baseline.metric], result[f"{baseline.metric}_interval"]
    card, trained = result["card"], result["card"]["trained"]
    minutes, beginning = trained["seconds"] / 60, ""
    if "init_from" in trained:
        beginning = f", from `{trained['init_from']}` on ({minutes + result['seconds_before'] / 60:.0f} min in all)"
    others, ahead = "none published", ""
    if baseline.score is not None:
        others = f"{100 * baseline.score:.2f}, {baseline.source}"
    if baseline.score is not None and result["digits"] == "mnist":
        ahead = "ours" if low > baseline.score else "theirs" if high < baseline.score else "not told apart"
    return [
        f"`{name}`",
        METRIC_LABELS[baseline.metric],
        f"**{100 * score:.2f}**",
        _format_interval(result, baseline.metric),
        _format_seeds({trained["seed"]: score} | {each["seed"]: each[baseline.metric] for each in result["seeds"]}),
        others,
        ahead,
        f"{card['parameters']:,}",
        f"{trained['scenes'] / 1e6:.1f} M scenes, {minutes:.0f} min{beginning}",
    ]


def _format_interval(result: dict[str, Any], metric: str = "exact_match") -> str:
    low, high = result[f"{metric}_interval"]
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _error_row(name: str, result: dict[str, Any], hard_examples: list[dict[str, int]] | None) -> list[str]:
    always = "" if hard_examples is None else _consistently_misread(hard_examples)
    return [f"`{name}`", *map(str, result["errors"].values()), always]


def _consistently_misread(hard_examples: list[dict[str, int]]) -> str:
    """Of digits that were shown twice or more, those that were misread each time; nothing where each is shown once."""
    several = [it for it in hard_examples if it["shown"] > 1]
    always = [it["wrong"] for it in several if it["wrong"] == it["shown"]]
    return f"{sum(always)} of {sum(it['wrong'] for it in several)}, of {len(always)} images" if several else ""


def _format_seeds(scores: dict[int, float]) -> str:
    seeds = ", ".join(map(str, scores))
    if len(scores) == 1:
        return f"seed {seeds}"
    values = [100 * score for score in scores.values()]
    return f"{mean(values):.2f} ± {stdev(values):.2f}, seeds {seeds}"
