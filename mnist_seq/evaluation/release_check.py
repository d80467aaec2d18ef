"""The check before a model is served: is it still as accurate as at its release?

It evaluates the model on built-in test scenes: its own scene family, rendered from the digits that scikit-learn
includes, so that no download is needed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from mnist_seq.config import FolderConfig
from mnist_seq.config.serialization import data_from_dict
from mnist_seq.data import datasets
from mnist_seq.errors import UserError
from mnist_seq.evaluation.evaluate_model import evaluate_model
from mnist_seq.nn.model import Model

NUM_SCENES = 300
MAX_ACCURACY_DROP = 0.01
"""Largest accepted drop of the exact match since the release."""
MAX_LOSS_INCREASE = 0.05
"""Largest accepted increase of the loss since the release, nats."""
SINGLE_MIN_ACCURACY, SINGLE_MAX_LOSS = 0.9, 0.5
"""What any model of single digits must reach."""


@dataclass(frozen=True)
class ReleaseScores:
    """Metrics on the built-in test scenes."""

    exact_match: float
    """Fraction of correct scenes."""
    loss: float
    """Cross-entropy per target, nats."""

    def __str__(self) -> str:
        return (
            f"{self.exact_match:.2%} of the {NUM_SCENES} built-in test scenes correct (exact match), "
            f"loss {self.loss:.3f}"
        )


def compute_release_scores(model: Model, card: dict[str, Any]) -> ReleaseScores | None:
    """Evaluate a model on the built-in scenes; None where its scenes cannot be rendered from the built-in digits."""
    if "data" not in card:
        return None
    data = data_from_dict(card["data"])
    if isinstance(data, FolderConfig):
        return None
    scenes = datasets.load(replace(data, digits="uci", pool="split")).splits["test"]
    summary = evaluate_model(model, scenes, NUM_SCENES, batch_size=100).summary()
    return ReleaseScores(summary["exact_match"], summary["loss"])


def release_scores_for_card(model: Model, card: dict[str, Any]) -> dict[str, float] | None:
    """The scores that the card keeps, for `check_release_scores` to compare with."""
    scores = compute_release_scores(model, card)
    return {"scenes": NUM_SCENES, **asdict(scores)} if scores else None


def check_release_scores(model: Model, card: dict[str, Any]) -> str:
    """Compare a model with its scores at release, and return a line about the result.

    Raises:
        UserError: the model is less accurate than at its release, or than any model of single digits may be.
    """
    scores, released = compute_release_scores(model, card), card.get("release_scores")
    if scores is None:
        return "not checked: its scenes cannot be rendered from the built-in digits"
    if card["data"]["family"] == "single" and not (
        scores.exact_match > SINGLE_MIN_ACCURACY and scores.loss < SINGLE_MAX_LOSS
    ):
        raise UserError(
            f"{scores}: a model of single digits needs an exact match above {SINGLE_MIN_ACCURACY:.0%} "
            f"and a loss below {SINGLE_MAX_LOSS}"
        )
    if not released:
        return f"{scores}; it was never exported, so there are no scores at release to compare with"
    at_release = ReleaseScores(released["exact_match"], released["loss"])
    if (
        scores.exact_match < at_release.exact_match - MAX_ACCURACY_DROP
        or scores.loss > at_release.loss + MAX_LOSS_INCREASE
    ):
        raise UserError(
            f"{scores}, but at release: {at_release}; the weights are damaged, or belong to another version"
        )
    return f"{scores}, as at release"
