"""Loading a model and its scenes for an evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_seq.config import CorruptionConfig, EvaluateConfig
from mnist_seq.evaluation.evaluator import load_evaluator
from mnist_seq.inference import weights
from mnist_seq.reporting.evaluation_report import evaluation_dir
from mnist_seq.run_dir import Run


def test_corrupted_scenes_are_the_same_scenes_and_have_their_own_results(tiny_run: Run) -> None:
    config = EvaluateConfig(run=str(tiny_run.path), corruptions=CorruptionConfig(contrast=0.02, rotation=15))
    corrupted, clean = load_evaluator(config), load_evaluator(EvaluateConfig(run=str(tiny_run.path)))
    assert clean.is_default_protocol
    assert not corrupted.is_default_protocol
    assert evaluation_dir(config) != evaluation_dir(clean.config)
    assert evaluation_dir(config).name == "val_rotation-15_contrast-0.02"
    assert corrupted.notice.endswith("Corruptions applied to these scenes: rotation=15, contrast=0.02.")
    assert clean.notice == clean.datasets.notice
    results = corrupted.evaluate(), clean.evaluate()
    assert results[0].predictions.source_ids.equal(results[1].predictions.source_ids)
    assert results[0].summary()["loss"] != results[1].summary()["loss"]


def test_model_trained_on_val_is_not_evaluated_on_val(tiny_run: Run, tmp_path: Path) -> None:
    model, card = weights.load(tiny_run.path)
    weights.save(model, tmp_path / "weights.safetensors", trained_on_val=["uci"], data=card["data"])
    with pytest.raises(ValueError, match=r"trained on the val digits too \(data.pool=full\): choose split=test"):
        load_evaluator(EvaluateConfig(run=str(tmp_path)))
    load_evaluator(EvaluateConfig(run=str(tmp_path), split="test"))


def test_best_checkpoint_has_the_best_logged_val_score(tiny_run: Run) -> None:
    evaluator = load_evaluator(EvaluateConfig(run=str(tiny_run.best_checkpoint)))
    best = max(row["val/exact_match"] for row in tiny_run.logged_metrics if "val/exact_match" in row)
    assert evaluator.evaluate().summary()["exact_match"] == pytest.approx(best)
