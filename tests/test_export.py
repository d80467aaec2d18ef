"""Exported models list the scores of other seeds of their recipe."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mnist_seq.export import _seed_scores
from mnist_seq.run_dir import Run

TEST_METRICS = {"scenes": 10, "exact_match": 0.5, "multiset_match": 0.6, "digit_accuracy": 0.7, "loss": 1.0}


@pytest.fixture
def other(tiny_run: Run, tmp_path: Path) -> Path:
    """The tiny run with another seed, judged."""
    copy = Run(shutil.copytree(tiny_run.path, tmp_path / "other"))
    config = copy.config
    config.seed = 7
    copy.write_config(config)
    copy.update_metrics(seed=7, test=TEST_METRICS)
    return copy.path


def test_other_seeds_are_exported_with_their_scores(tiny_run: Run, other: Path) -> None:
    assert _seed_scores(str(tiny_run.path), [str(other)]) == [
        {"seed": 7, "scenes": 10, "exact_match": 0.5, "multiset_match": 0.6, "digit_accuracy": 0.7}
    ]


def test_a_run_of_another_recipe_is_refused(tiny_run: Run, other: Path) -> None:
    config = Run(other).config
    config.optim.lr *= 2
    Run(other).write_config(config)
    with pytest.raises(ValueError, match="other differs from .*tiny in more than its seed"):
        _seed_scores(str(tiny_run.path), [str(other)])


def test_a_seed_without_test_metrics_is_refused_with_the_way_out(tiny_run: Run, other: Path) -> None:
    Run(other).update_metrics(test=None)
    with pytest.raises(ValueError, match=r"other was not judged: python -m mnist_seq.evaluate run=\S+ split=test"):
        _seed_scores(str(tiny_run.path), [str(other)])
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        _seed_scores(str(tiny_run.path), ["nowhere"])
