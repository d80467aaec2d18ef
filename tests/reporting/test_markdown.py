"""Tables of results, and writing them into a Markdown file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import PublishedScore, ResultsConfig
from mnist_seq.evaluation.hard_examples import HardExample
from mnist_seq.evaluation.metrics import SceneMetrics, classify_errors
from mnist_seq.inference.pretrained import PRETRAINED_DIR
from mnist_seq.reporting import markdown


def protocol_result(score: float, low: float, high: float, **card: Any) -> dict[str, Any]:
    metrics = {
        "errors": {"wrong digits": 7, "the right digits in another order": 0},
        "exact_match": score,
        "exact_match_interval": [low, high],
        "count_accuracy": 1,
        "digit_accuracy": 1,
    }
    trained: dict[str, Any] = {"scenes": 2_560_000, "seconds": 5400, "seed": 0} | card.pop("trained", {})
    facts = {"scenes": 10_000, "digits": "mnist", "seeds": card.pop("seeds", [])}
    return facts | metrics | {"card": {"parameters": 1234, "trained": trained} | card}


def make_results(**protocols: dict[str, Any]) -> dict[str, Any]:
    return {
        "protocols": protocols,
        "hard_examples": {name: [HardExample(3, 4, 9, 2, 2)._asdict()] for name in protocols},
        "corrupted": {name: {"clean": 0.9, "noise": 0.5} for name in protocols},
        "other_data": {name: {"longer": protocol_result(0.25, 0.2, 0.3)} for name in protocols},
    }


_NO_SCENES = SceneMetrics(*[torch.zeros(0)] * len(SceneMetrics._fields))


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.97, 0.99, "significantly better"),
        (0.9, 0.95, "significantly worse"),
        (0.95, 0.97, "not significantly different"),
    ],
)
def test_difference_is_significant_only_where_the_interval_excludes_the_published_score(
    low: float, high: float, verdict: str
) -> None:
    config = ResultsConfig(published={"grid": PublishedScore(0.96, "another", "exact_match")})
    results = make_results(grid=protocol_result((low + high) / 2, low, high))
    headline = cells(markdown.headline_table(results, config))[2]
    assert headline[2:] == [
        f"**{50 * (low + high):.2f}** ({100 * low:.2f} to {100 * high:.2f})",
        "96.00, another",
        verdict,
    ]
    row = cells(markdown.results_tables(results, config))[3]
    assert row[6] == verdict
    assert row[3] == f"{100 * low:.2f} to {100 * high:.2f}"
    assert row[5:] == ["96.00, another", verdict, "1,234", "2.6 M scenes, 90 min"]


def test_scores_on_other_digits_are_not_compared() -> None:
    config = ResultsConfig(published={"grid": PublishedScore(0.96, "another", "exact_match")})
    row = cells(
        markdown.results_tables(make_results(grid=protocol_result(0.98, 0.97, 0.99) | {"digits": "uci"}), config)
    )[3]
    assert row[5:7] == ["96.00, another", ""]


def test_training_names_the_model_that_it_was_initialized_from() -> None:
    facts = {"init_from": "grid", "pretraining_seconds": 3600, "device": "cuda:0"}
    later = protocol_result(0.9, 0.8, 1, trained=facts)
    assert (
        cells(markdown.results_tables(make_results(single=later), ResultsConfig()))[3][-1]
        == "2.6 M scenes, 90 min on a GPU, initialized from `grid` (trained for 60 min)"
    )


def test_every_row_has_as_many_cells_as_the_header() -> None:
    text = markdown.results_tables(
        make_results(grid=protocol_result(0.9, 0.8, 1), single=protocol_result(0.9, 0.8, 1)), ResultsConfig()
    )
    tables = text.strip().split("\n\n")[1:]
    assert len(tables) == 4
    for each in tables:
        assert len({len(row) for row in cells(each)}) == 1
    assert text.startswith("10,000 test scenes per model, 2,000 per corruption; digits: mnist.")
    assert "| none |" in text
    assert "| noise | 50.0 | 50.0 |" in text
    assert "| `single`: longer | 10,000 | 100.0 | 100.0 | 25.0 | 20.00 to 30.00 |" in text
    assert "| `single` | 7 | 0 | 2 of 2 (1 digits) |" in text


def test_always_misread_digits_are_counted_only_among_digits_shown_repeatedly() -> None:
    results = make_results(single=protocol_result(0.9, 0.8, 1))
    examples = results["hard_examples"]["single"]
    assert "| 2 of 2 (1 digits) |" in markdown.results_tables(results, ResultsConfig())
    examples.append(HardExample(4, 4, 9, 1, 3)._asdict())
    assert "| 2 of 3 (1 digits) |" in markdown.results_tables(results, ResultsConfig())
    examples[:] = [HardExample(3, 4, 9, 1, 1)._asdict()]
    assert "| `single` | 7 | 0 |  |" in markdown.results_tables(results, ResultsConfig())


def test_several_seeds_are_shown_with_their_standard_deviation() -> None:
    seeds = [{"seed": 1, "exact_match": 0.98}, {"seed": 2, "exact_match": 0.99}]
    row = cells(
        markdown.results_tables(make_results(grid=protocol_result(0.97, 0.96, 0.98, seeds=seeds)), ResultsConfig())
    )[3]
    assert row[4] == "98.00 ± 1.00, seeds 0, 1, 2"
    assert (
        cells(markdown.results_tables(make_results(grid=protocol_result(0.97, 0.96, 0.98)), ResultsConfig()))[3][4]
        == "seed 0"
    )


def test_only_the_lines_between_the_markers_are_replaced(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    before = "between `<!-- results -->` and `<!-- /results -->`:"
    page.write_text(f"{before}\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    markdown.require_markers("tables", page, "results")
    for _ in range(2):
        markdown.replace_between_markers(page, "results", "| new |\n")
        assert page.read_text() == f"{before}\n<!-- results -->\n| new |\n<!-- /results -->\nafter\n"


@pytest.mark.parametrize(
    "text", ["", "<!-- results -->\n", "<!-- /results -->\n<!-- results -->\n", "<!-- results --> <!-- /results -->\n"]
)
def test_file_without_markers_is_refused(text: str, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="needs a line <!-- results --> and, after it, a line <!-- /results -->"):
        markdown.require_markers("tables", page, "results")


def test_tables_of_the_pretrained_readme_have_the_generated_layout() -> None:
    """Headers and row labels are those that `results` writes with its default config."""
    config = to_dataclass(compose("results", []).config, ResultsConfig)
    result = protocol_result(0.9, 0.8, 1) | {"multiset_match": 0.9, "multiset_match_interval": [0.8, 1]}
    result |= {"digit_accuracy_interval": [0.8, 1], "errors": dict.fromkeys(classify_errors(_NO_SCENES), 0)}
    results = make_results(**dict.fromkeys(config.published, result))
    results["corrupted"] = dict.fromkeys(config.published, dict.fromkeys(["clean", *config.corruptions], 0.5))
    results["other_data"] = {name: dict.fromkeys(labels, result) for name, labels in config.other_data.items()}
    generated = cells(markdown.results_tables(results, config))
    lines = (PRETRAINED_DIR / "README.md").read_text(encoding="utf-8").splitlines()
    written = cells("\n".join(lines[lines.index("<!-- results -->") + 1 : lines.index("<!-- /results -->")]))
    assert [row[0] for row in written] == [row[0] for row in generated]
    headers = [index for index, row in enumerate(generated) if row[0] == "---"]
    assert [written[index - 1] for index in headers] == [generated[index - 1] for index in headers]
    assert len(headers) == 4
