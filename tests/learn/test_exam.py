"""What is asked of a reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_seq.config import DisturbConfig, EvaluateConfig
from mnist_seq.learn.evaluation import destination
from mnist_seq.learn.exam import exam
from mnist_seq.run import Run
from mnist_seq.use import weights


def test_disturbed_scenes_are_the_same_scenes_and_never_taken_for_the_runs_own(tiny_run: Run) -> None:
    config = EvaluateConfig(run=str(tiny_run.path), disturb=DisturbConfig(contrast=0.02, rotation=15))
    asked, usual = exam(config), exam(EvaluateConfig(run=str(tiny_run.path)))
    assert usual.usual
    assert not asked.usual
    assert destination(config) != destination(usual.config)
    assert destination(config).name == "val_rotation-15_contrast-0.02"
    assert asked.subject.notice.endswith("These scenes were disturbed: rotation=15, contrast=0.02.")
    assert usual.subject.notice == usual.sets.notice
    disturbed, plain = asked.judge(), usual.judge()
    assert disturbed.readings.sources.equal(plain.readings.sources)
    assert disturbed.summary()["loss"] != plain.summary()["loss"]


def test_no_reader_is_judged_on_val_digits_that_it_has_learnt(tiny_run: Run, tmp_path: Path) -> None:
    model, card = weights.load(tiny_run.path)
    weights.save(model, tmp_path / "weights.safetensors", learnt_val=["uci"], data=card["data"])
    with pytest.raises(ValueError, match=r"trained on the val digits too \(data.pool=full\): choose split=test"):
        exam(EvaluateConfig(run=str(tmp_path)))
    exam(EvaluateConfig(run=str(tmp_path), split="test"))


def test_the_best_checkpoint_is_read_as_well_as_validation_said_on_the_way(tiny_run: Run) -> None:
    asked = exam(EvaluateConfig(run=str(tiny_run.best)))
    best = max(row["val/exact_match"] for row in tiny_run.rows if "val/exact_match" in row)
    assert asked.judge().summary()["exact_match"] == pytest.approx(best)
