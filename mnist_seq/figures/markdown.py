"""Tables in Markdown, and where they stand in a file."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mnist_seq.atomic import write_whole
from mnist_seq.config import Anchor, ResultsConfig
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.figures.tables import FIGURES

_ELSEWHERE = ("digit_accuracy", "count_accuracy", "exact_match")
_BEGIN, _END = "<!-- results -->", "<!-- /results -->"


def results(found: dict[str, Any], config: ResultsConfig) -> str:
    """What `python -m mnist_seq.results` found, as tables."""
    protocols, disturbed, elsewhere = found["protocols"], found["disturbed"], found["elsewhere"]
    header = ["reader", "counted", "right, %", "95 % interval", "over seeds", "others, %", "ahead"]
    kinds = next(iter(protocols.values()))["errors"]
    anchors = {name: config.anchors.get(name, Anchor()) for name in protocols}
    sources = ", ".join(sorted({each["digits"] for each in protocols.values()}))
    parts = [
        f"{config.scenes:,} test scenes a reader, {config.others:,} of each kind where they are disturbed; "
        f"digits: {sources}.",
        table(
            [*header, "parameters", "training"], [_row(name, protocols[name], each) for name, each in anchors.items()]
        ),
        table(
            ["wrong readings", *kinds, "of misread digits that are shown again, those misread each time"],
            [_errors(name, each, found["misread"].get(name)) for name, each in protocols.items()],
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
        [f"`{name}`: {what}", f"{it['scenes']:,}", *(f"{100 * it[key]:.1f}" for key in _ELSEWHERE), _interval(it)]
        for name, scenes in elsewhere.items()
        for what, it in scenes.items()
    ]
    if rows:
        measures = [f"{FIGURES[key]}, %" for key in _ELSEWHERE]
        parts.append(table(["other scenes", "scenes", *measures, "95 % interval"], rows))
    return "\n\n".join(parts) + "\n"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table, the first column of which names the row."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def require_marks(path: Path) -> None:
    """Refuse a file without the two lines between which results stand.

    Raises:
        FileNotFoundError, ValueError: no such file, or no such lines in it.
    """
    if not path.is_file():
        raise NotFoundError(f"readme={path} does not exist: give a Markdown file, or leave it out")
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines.count(_BEGIN) != 1 or lines.count(_END) != 1 or lines.index(_BEGIN) > lines.index(_END):
        raise UserError(f"readme={path} needs a line {_BEGIN} and, after it, a line {_END}: the tables go between")


def put(path: Path, text: str) -> None:
    """Replace what stands between the two lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    before, after = lines[: lines.index(_BEGIN) + 1], lines[lines.index(_END) :]
    write_whole(path, "\n".join([*before, text.rstrip("\n"), *after]) + "\n")


def _row(name: str, found: dict[str, Any], anchor: Anchor) -> list[str]:
    score, (low, high) = found[anchor.measure], found[f"{anchor.measure}_interval"]
    card, trained = found["card"], found["card"]["trained"]
    minutes, beginning = trained["seconds"] / 60, ""
    if "began_with" in trained:
        beginning = f", from `{trained['began_with']}` on ({minutes + found['seconds_before'] / 60:.0f} min in all)"
    others, ahead = "none published", ""
    if anchor.score is not None:
        others = f"{100 * anchor.score:.2f}, {anchor.whose}"
    if anchor.score is not None and found["digits"] == "mnist":
        ahead = "ours" if low > anchor.score else "theirs" if high < anchor.score else "not told apart"
    return [
        f"`{name}`",
        FIGURES[anchor.measure],
        f"**{100 * score:.2f}**",
        _interval(found, anchor.measure),
        _over_seeds({trained["seed"]: score} | {each["seed"]: each[anchor.measure] for each in found["seeds"]}),
        others,
        ahead,
        f"{card['parameters']:,}",
        f"{trained['scenes'] / 1e6:.1f} M scenes, {minutes:.0f} min{beginning}",
    ]


def _interval(found: dict[str, Any], measure: str = "exact_match") -> str:
    low, high = found[f"{measure}_interval"]
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _errors(name: str, found: dict[str, Any], misread: list[dict[str, int]] | None) -> list[str]:
    always = "" if misread is None else _always(misread)
    return [f"`{name}`", *map(str, found["errors"].values()), always]


def _always(misread: list[dict[str, int]]) -> str:
    """Of digits that were shown twice or more, those that were misread each time; nothing where each is shown once."""
    several = [it for it in misread if it["shown"] > 1]
    always = [it["wrong"] for it in several if it["wrong"] == it["shown"]]
    return f"{sum(always)} of {sum(it['wrong'] for it in several)}, of {len(always)} images" if several else ""


def _over_seeds(scores: dict[int, float]) -> str:
    seeds = ", ".join(map(str, scores))
    if len(scores) == 1:
        return f"seed {seeds}"
    values = [100 * score for score in scores.values()]
    return f"{mean(values):.2f} ± {stdev(values):.2f}, seeds {seeds}"
