"""The check before a model is served: is it still as accurate as at its release?

It evaluates the model on built-in test scenes: its own scene family, rendered from the digits that scikit-learn
includes, so that no download is needed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mnist_seq.config import FolderConfig
from mnist_seq.config.serialization import data_from_dict
from mnist_seq.config.validation import check
from mnist_seq.data import datasets
from mnist_seq.data.sources import NOT_DIGITS
from mnist_seq.evaluation.evaluate_model import evaluate_model
from mnist_seq.nn.model import Model

NUM_SCENES = 300
MAX_ACCURACY_DROP = 0.01
"""Largest accepted drop of the exact match since the release."""
MAX_LOSS_INCREASE = 0.05
"""Largest accepted increase of the loss since the release, nats."""
SINGLE_MIN_ACCURACY, SINGLE_MAX_LOSS = 0.9, 0.5
"""What any model of single digits must reach."""


def compute_release_scores(model: Model, card: dict[str, Any]) -> dict[str, float] | None:
    """Evaluate a model on the built-in scenes; None where its scenes cannot be rendered from the built-in digits.

    Returns:
        Number of scenes, exact match as a fraction, and loss in nats per target: the card keeps them.
    """
    data = data_from_dict(card["data"]) if "data" in card else None
    if data is None or isinstance(data, FolderConfig):
        return None
    scenes = datasets.load(replace(data, digits="uci", pool="split")).splits["test"]
    summary = evaluate_model(model, scenes, NUM_SCENES, batch_size=100).summary()
    return {key: summary[key] for key in ("scenes", "exact_match", "loss")}


def check_release_scores(model: Model, card: dict[str, Any]) -> str:
    """Compare a model with its scores at release, and return a line about the result.

    Raises:
        UserError: the model is less accurate than at its release, or than any model of single digits may be.
    """
    scores, released = compute_release_scores(model, card), card.get("release_scores")
    if scores is None:
        return "not checked: its scenes cannot be rendered from the built-in digits"
    text, exact_match, loss = _describe(scores), scores["exact_match"], scores["loss"]
    check(
        card["data"]["family"] != "single"
        or card.get("digits") in NOT_DIGITS
        or (exact_match > SINGLE_MIN_ACCURACY and loss < SINGLE_MAX_LOSS),
        f"{text}: a model of single digits needs an exact match above {SINGLE_MIN_ACCURACY:.0%} "
        f"and a loss below {SINGLE_MAX_LOSS}",
    )
    if not released:
        return f"{text}; it was never exported, so there are no scores at release to compare with"
    check(
        exact_match >= released["exact_match"] - MAX_ACCURACY_DROP and loss <= released["loss"] + MAX_LOSS_INCREASE,
        f"{text}, but at release: {_describe(released)}; the weights are damaged, or belong to another version",
    )
    return f"{text}, as at release"


def _describe(scores: dict[str, float]) -> str:
    correct = f"{scores['exact_match']:.2%} of the {NUM_SCENES} built-in test scenes correct (exact match)"
    return f"{correct}, loss {scores['loss']:.3f}"
