"""What is asked of a reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_seq.config import CorruptionConfig, EvaluateConfig
from mnist_seq.evaluation.evaluator import load_evaluator
from mnist_seq.inference import weights
from mnist_seq.reporting.evaluation_report import evaluation_dir
from mnist_seq.run_dir import Run


def test_disturbed_scenes_are_the_same_scenes_and_never_taken_for_the_runs_own(tiny_run: Run) -> None:
    config = EvaluateConfig(run=str(tiny_run.path), corruption=CorruptionConfig(contrast=0.02, rotation=15))
    asked, usual = load_evaluator(config), load_evaluator(EvaluateConfig(run=str(tiny_run.path)))
    assert usual.is_default_protocol
    assert not asked.is_default_protocol
    assert evaluation_dir(config) != evaluation_dir(usual.config)
    assert evaluation_dir(config).name == "val_rotation-15_contrast-0.02"
    assert asked.subject.notice.endswith("These scenes were disturbed: rotation=15, contrast=0.02.")
    assert usual.subject.notice == usual.datasets.notice
    disturbed, plain = asked.evaluate(), usual.evaluate()
    assert disturbed.predictions.source_ids.equal(plain.predictions.source_ids)
    assert disturbed.summary()["loss"] != plain.summary()["loss"]


def test_no_reader_is_judged_on_val_digits_that_it_has_learnt(tiny_run: Run, tmp_path: Path) -> None:
    model, card = weights.load(tiny_run.path)
    weights.save(model, tmp_path / "weights.safetensors", trained_on_val=["uci"], data=card["data"])
    with pytest.raises(ValueError, match=r"trained on the val digits too \(data.pool=full\): choose split=test"):
        load_evaluator(EvaluateConfig(run=str(tmp_path)))
    load_evaluator(EvaluateConfig(run=str(tmp_path), split="test"))


def test_the_best_checkpoint_is_read_as_well_as_validation_said_on_the_way(tiny_run: Run) -> None:
    asked = load_evaluator(EvaluateConfig(run=str(tiny_run.best_checkpoint)))
    best = max(row["val/exact_match"] for row in tiny_run.logged_metrics if "val/exact_match" in row)
    assert asked.evaluate().summary()["exact_match"] == pytest.approx(best)
