"""Pages on which readers, or the runs of a sweep, stand side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnist_seq.data.sets import SceneSet
from mnist_seq.figures import gallery, inline, trends
from mnist_seq.judging.comparing import Contender, Versus, in_words, letters, likely, points

if TYPE_CHECKING:
    from mnist_seq.sweeps.members import Member

_FLIPPED = 24
Row = list[dict[str, Any]]


def readers(contenders: list[Contender], against: list[Versus], scenes: SceneSet, said: str, notice: str = "") -> str:
    """Contenders, each against the first, and the scenes that only one of two reads right.

    Args:
        against: each but the first against the first.
    """
    first, (here, *others) = contenders[0], letters(contenders)
    rows: list[Row] = [[_cell(f"{here}: {first.name}"), _percent(first.score), *_spread(first), *([_cell("")] * 4)]]
    flipped = []
    for letter, other, versus in zip(others, contenders[1:], against, strict=True):
        found = versus.difference
        mark = {"better": "is-right", "worse": "is-wrong"}.get(in_words(found), "")
        numbers = f"{len(versus.gained)} gained, {len(versus.lost)} lost" if len(first.judgements) == 1 else ""
        rows.append(
            [
                _cell(f"{letter}: {other.name}"),
                _percent(other.score),
                *_spread(other),
                _cell(points(found), found.value),
                _cell(likely(found.p), found.p),
                _cell(numbers),
                _cell(in_words(found), mark=mark),
            ]
        )
        for ids, ahead, behind in ((versus.gained, letter, here), (versus.lost, here, letter)):
            if len(ids):
                flipped.append(
                    {
                        "title": f"{ahead} reads right, {behind} does not",
                        "said": f"{len(ids)} scenes; first what {here} reads, below it what {letter} reads.",
                        "scenes": _both(scenes, first, other, ids[:_FLIPPED].tolist()),
                    }
                )
    return inline.render(
        "comparison.html",
        title=" or ".join([here, *others]) + "?",
        heading="Exact match",
        notice=notice,
        said=said,
        columns=["", "exact match", "95 %" if first.spread is None else "over seeds", "points more", "p", "scenes", ""],
        rows=rows,
        flipped=flipped,
        drawings=[],
        sortable=False,
        shown_height=gallery.height(scenes),
    )


def sweep(members: list[Member], name: str) -> str:
    """The runs of a sweep in a table that can be sorted, and a drawing of each key that was swept."""
    keys = sorted({key for member in members for key in member.apart})
    notice = " ".join(sorted({member.notice for member in members} - {""}))
    figures = ["exact_match", "digit_accuracy", "parameters", "scenes", "seconds"]
    rows = [
        [
            *(_cell(member.apart.get(key, ""), member.apart.get(key, "")) for key in keys),
            _cell(str(member.seed), member.seed),
            *(_percent(member.figures[name]) for name in figures[:2]),
            *(_cell(f"{member.figures[name]:,.0f}", member.figures[name]) for name in figures[2:]),
            _cell(member.path.name, mark="path"),
        ]
        for member in sorted(members, key=lambda it: -it.figures["exact_match"])
    ]
    drawings = []
    for key in sorted({key for member in members for key in member.choices}):
        swept: dict[str, list[tuple[str, float]]] = {}
        for it in members:
            if key in it.choices:
                swept.setdefault(it.condition, []).append((it.choices[key], it.figures["exact_match"]))
        if len({value for each in swept.values() for value, _ in each}) > 1:
            drawings.append(inline.svg(trends.swept(key, swept, notice), key))
    return inline.render(
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


def _both(scenes: SceneSet, first: Contender, other: Contender, ids: list[int]) -> list[dict[str, Any]]:
    one, two = (gallery.read(scenes, it.judgements[0], ids) for it in (first, other))
    return [left | {"first": left, "second": right} for left, right in zip(one, two, strict=True)]


def _spread(contender: Contender) -> Row:
    if contender.spread is not None:
        return [_cell(f"± {100 * contender.spread:.2f}, {len(contender.judgements)} seeds")]
    exact = contender.judgements[0].figures["exact_match"]
    return [_cell(f"{exact.low:.2%} to {exact.high:.2%}")]


def _percent(value: float) -> dict[str, Any]:
    return _cell(f"{value:.2%}", value)


def _cell(text: str, value: Any = "", mark: str = "") -> dict[str, Any]:
    return {"text": text, "value": value, "mark": mark}
