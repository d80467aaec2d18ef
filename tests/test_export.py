"""An export states the scores of other seeds of its recipe."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mnist_seq import export
from mnist_seq.config import ExportConfig
from mnist_seq.errors import UserError
from mnist_seq.export import _seed_scores
from mnist_seq.inference import weights
from mnist_seq.run_dir import Run

TEST_METRICS = {"scenes": 10, "exact_match": 0.5, "multiset_match": 0.6, "digit_accuracy": 0.7, "loss": 1.0}


@pytest.fixture
def other(tiny_run: Run, tmp_path: Path) -> Path:
    """The tiny run with another seed, evaluated on test."""
    copy = Run(shutil.copytree(tiny_run.path, tmp_path / "other"))
    config = copy.config
    config.seed = 7
    copy.write_config(config)
    copy.update_metrics(seed=7, test=TEST_METRICS)
    return copy.path


def test_scores_of_other_seeds_are_collected(tiny_run: Run, other: Path) -> None:
    assert _seed_scores(str(tiny_run.path), [str(other)]) == [
        {"seed": 7, "scenes": 10, "exact_match": 0.5, "multiset_match": 0.6, "digit_accuracy": 0.7}
    ]


def test_run_of_another_recipe_is_rejected(tiny_run: Run, other: Path) -> None:
    config = Run(other).config
    config.optim.lr *= 2
    Run(other).write_config(config)
    with pytest.raises(ValueError, match="other differs from .*tiny in more than its seed"):
        _seed_scores(str(tiny_run.path), [str(other)])


def test_run_without_test_metrics_is_rejected_with_the_command(tiny_run: Run, other: Path) -> None:
    Run(other).update_metrics(test=None)
    with pytest.raises(ValueError, match=r"other has no test metrics: python -m mnist_seq.evaluate run=\S+ split=test"):
        _seed_scores(str(tiny_run.path), [str(other)])
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        _seed_scores(str(tiny_run.path), ["nowhere"])


@pytest.mark.parametrize("name", ["../..", "/elsewhere", "team/x", ""])
def test_name_of_a_card_never_leads_out_of_the_output_folder(name: str, tiny_run: Run, tmp_path: Path) -> None:
    model, _ = weights.load(tiny_run.path)
    weights.save(model, tmp_path / "weights.safetensors", name=name)
    with pytest.raises(UserError, match="must be letters, digits, _, - and dots: it names a folder"):
        export._job(ExportConfig(run=str(tmp_path), name=name, output_dir=str(tmp_path / "out")), tmp_path)
    if name:
        with pytest.raises(UserError, match=f"name={name} must be letters"):
            export._job(ExportConfig(run=str(tmp_path), output_dir=str(tmp_path / "out")), tmp_path)
    assert not (tmp_path / "out").exists()
