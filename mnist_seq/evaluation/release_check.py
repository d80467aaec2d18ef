"""The gate before a service: a reader must still read as well as it did when it was released.

It reads built-in scenes: of its own family, of the digits that scikit-learn ships, so that no network is needed.
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
"""How much lower the share of scenes read right may be than it was at release."""
MAX_LOSS_INCREASE = 0.05
"""How much higher the loss may be, nats."""
SINGLE_MIN_ACCURACY, SINGLE_MAX_LOSS = 0.9, 0.5
"""What a reader of single digits must exceed, and stay below."""


@dataclass(frozen=True)
class ReleaseScores:
    """How well a reader did on the built-in scenes."""

    exact_match: float
    """Share of scenes read right."""
    loss: float
    """Cross-entropy of a target, nats."""

    def __str__(self) -> str:
        return f"{self.exact_match:.2%} of {NUM_SCENES} built-in scenes read right, loss {self.loss:.3f}"


def compute_release_scores(model: Model, card: dict[str, Any]) -> ReleaseScores | None:
    """Read the built-in scenes; None of a reader whose family of scenes cannot be made of built-in digits."""
    if "data" not in card:
        return None
    data = data_from_dict(card["data"])
    if isinstance(data, FolderConfig):
        return None
    built_in = datasets.load(replace(data, digits="uci", pool="split")).splits["test"]
    figures = evaluate_model(model, built_in, NUM_SCENES, batch_size=100).summary()
    return ReleaseScores(figures["exact_match"], figures["loss"])


def release_scores_for_card(model: Model, card: dict[str, Any]) -> dict[str, float] | None:
    """What a card says of a release, for `check` to hold it to."""
    found = compute_release_scores(model, card)
    return {"scenes": NUM_SCENES, **asdict(found)} if found else None


def check_release_scores(model: Model, card: dict[str, Any]) -> str:
    """Let a reader through, with a word on what it was held to.

    Raises:
        ValueError: it reads worse than when it was released, or worse than any reader of single digits may.
    """
    found, released = compute_release_scores(model, card), card.get("release_scores")
    if found is None:
        return "not examined: its scenes cannot be made of built-in digits"
    if card["data"]["family"] == "single" and not (
        found.exact_match > SINGLE_MIN_ACCURACY and found.loss < SINGLE_MAX_LOSS
    ):
        raise UserError(
            f"{found}: a reader of single digits needs above {SINGLE_MIN_ACCURACY:.0%} and below {SINGLE_MAX_LOSS}"
        )
    if not released:
        return f"{found}; it was never exported, so there is nothing to hold it to"
    then = ReleaseScores(released["exact_match"], released["loss"])
    if found.exact_match < then.exact_match - MAX_ACCURACY_DROP or found.loss > then.loss + MAX_LOSS_INCREASE:
        raise UserError(f"{found}, but when it was released: {then}; these weights are damaged, or another version's")
    return f"{found}, as when it was released"
