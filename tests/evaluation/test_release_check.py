"""A model that reads worse than at its export is not served."""

from __future__ import annotations

import pytest

import mnist_seq
from mnist_seq.evaluation import release_check
from mnist_seq.inference import weights
from mnist_seq.nn import build
from mnist_seq.run_dir import Run
from tests.conftest import stirred, tiny_models


def test_model_worse_than_at_its_export_is_rejected(tiny_run: Run) -> None:
    model, card = weights.load(tiny_run.path)
    assert "never exported" in release_check.check_release_scores(model, card)
    scores = release_check.compute_release_scores(model, card)
    assert scores
    card["release_scores"] = scores
    release_check.check_release_scores(model, card)
    for worse in ({"loss": scores["loss"] - 0.06}, {"exact_match": scores["exact_match"] + 0.02}):
        with pytest.raises(ValueError, match="damaged"):
            release_check.check_release_scores(model, card | {"release_scores": scores | worse})
    assert release_check.compute_release_scores(model, {}) is None


def test_untrained_model_of_single_digits_is_rejected() -> None:
    data = mnist_seq.compose("data=single", "data.digits=uci").data
    model = stirred(build(tiny_models()["enc_dec"], data.spec))
    with pytest.raises(ValueError, match="90%"):
        release_check.check_release_scores(model, {"data": {"family": "single"}})
