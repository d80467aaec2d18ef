"""Tables of results, and where they are put."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mnist_seq.config import PublishedScore, ResultsConfig
from mnist_seq.reporting import markdown


def judged(score: float, low: float, high: float, **card: Any) -> dict[str, Any]:
    errors = {"wrong digits": 7, "another order": 0}
    figures = {
        "errors": errors,
        "exact_match": score,
        "exact_match_interval": [low, high],
        "count_accuracy": 1,
        "digit_accuracy": 1,
    }
    trained = {"scenes": 2_560_000, "seconds": 5400, "seed": 0} | card.pop("trained", {})
    about = {"scenes": 10_000, "digits": "mnist", "seconds_before": 3600, "seeds": card.pop("seeds", [])} | figures
    return about | {"card": {"parameters": 1234, "trained": trained} | card}


def found(**readers: dict[str, Any]) -> dict[str, Any]:
    disturbed = {name: {"as they are": 0.9, "noise": 0.5} for name in readers}
    misread = {name: [{"source": 3, "truth": 4, "read": 9, "wrong": 2, "shown": 2}] for name in readers}
    return {
        "protocols": readers,
        "misread": misread,
        "disturbed": disturbed,
        "elsewhere": {name: {"longer": judged(0.25, 0.2, 0.3)} for name in readers},
    }


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line]


@pytest.mark.parametrize(
    ("low", "high", "ahead"), [(0.97, 0.99, "ours"), (0.9, 0.95, "theirs"), (0.95, 0.97, "not told apart")]
)
def test_who_is_ahead_is_said_only_where_the_interval_excludes_the_other(low: float, high: float, ahead: str) -> None:
    config = ResultsConfig(published={"grid": PublishedScore(0.96, "another", "exact_match")})
    row = cells(markdown.results_tables(found(grid=judged((low + high) / 2, low, high)), config))[3]
    assert row[6] == ahead
    assert row[3] == f"{100 * low:.2f} to {100 * high:.2f}"
    assert row[5:] == ["96.00, another", ahead, "1,234", "2.6 M scenes, 90 min"]


def test_nobody_is_ahead_on_other_digits_than_theirs() -> None:
    config = ResultsConfig(published={"grid": PublishedScore(0.96, "another", "exact_match")})
    row = cells(markdown.results_tables(found(grid=judged(0.98, 0.97, 0.99) | {"digits": "uci"}), config))[3]
    assert row[5:7] == ["96.00, another", ""]


def test_training_that_began_with_another_reader_says_so() -> None:
    later = judged(0.9, 0.8, 1, trained={"init_from": "grid"})
    assert (
        cells(markdown.results_tables(found(single=later), ResultsConfig()))[3][-1]
        == "2.6 M scenes, 90 min, from `grid` on (150 min in all)"
    )


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    text = markdown.results_tables(found(grid=judged(0.9, 0.8, 1), single=judged(0.9, 0.8, 1)), ResultsConfig())
    tables = text.strip().split("\n\n")[1:]
    assert len(tables) == 4
    for each in tables:
        assert len({len(row) for row in cells(each)}) == 1
    assert text.startswith("10,000 test scenes a reader, 2,000 of each kind where they are disturbed; digits: mnist.")
    assert "none published" in text
    assert "| noise | 50.0 | 50.0 |" in text
    assert "| `single`: longer | 10,000 | 100.0 | 100.0 | 25.0 | 20.00 to 30.00 |" in text
    assert "| `single` | 7 | 0 | 2 of 2, of 1 images |" in text


def test_where_each_digit_is_shown_once_nothing_is_said_of_those_always_misread() -> None:
    once = found(single=judged(0.9, 0.8, 1))
    shown = once["misread"]["single"]
    assert "| 2 of 2, of 1 images |" in markdown.results_tables(once, ResultsConfig())
    shown.append({"source": 4, "truth": 4, "read": 9, "wrong": 1, "shown": 3})
    assert "| 2 of 3, of 1 images |" in markdown.results_tables(once, ResultsConfig())
    shown[:] = [{"source": 3, "truth": 4, "read": 9, "wrong": 1, "shown": 1}]
    assert "| `single` | 7 | 0 |  |" in markdown.results_tables(once, ResultsConfig())


def test_several_seeds_are_told_with_their_spread() -> None:
    seeds = [{"seed": 1, "exact_match": 0.98}, {"seed": 2, "exact_match": 0.99}]
    row = cells(markdown.results_tables(found(grid=judged(0.97, 0.96, 0.98, seeds=seeds)), ResultsConfig()))[3]
    assert row[4] == "98.00 ± 1.00, seeds 0, 1, 2"
    assert cells(markdown.results_tables(found(grid=judged(0.97, 0.96, 0.98)), ResultsConfig()))[3][4] == "seed 0"


def test_results_replace_what_stands_between_the_marks_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    before = "between `<!-- results -->` and `<!-- /results -->`:"
    page.write_text(f"{before}\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    markdown.require_markers(page)
    for _ in range(2):
        markdown.replace_between_markers(page, "| new |\n")
        assert page.read_text() == f"{before}\n<!-- results -->\n| new |\n<!-- /results -->\nafter\n"


@pytest.mark.parametrize(
    "text", ["", "<!-- results -->\n", "<!-- /results -->\n<!-- results -->\n", "<!-- results --> <!-- /results -->\n"]
)
def test_a_page_without_its_marks_is_refused(text: str, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="needs a line <!-- results --> and, after it, a line <!-- /results -->"):
        markdown.require_markers(page)
