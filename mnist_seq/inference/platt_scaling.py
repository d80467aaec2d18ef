"""Platt scaling: make the confidence of a reading the share of such readings that are right.

Shapes   B sequences
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_EPS = 1e-6
"""Confidences are kept this far from 0 and 1, whose logits are infinite."""


class PlattScaling(NamedTuple):
    """A confidence p becomes sigmoid(slope * logit(p) + offset) (Platt 1999)."""

    slope: float = 1.0
    offset: float = 0.0

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> PlattScaling:
        """Return what a model's card says under `platt_scaling`; without it, confidences stay as they are."""
        values = card.get("platt_scaling") or {}
        return cls(values.get("slope", 1.0), values.get("offset", 0.0))

    @classmethod
    def fit(cls, confidence: Float[Tensor, "B"], correct: Float[Tensor, "B"]) -> PlattScaling:
        """Fit both numbers by logistic regression, on predictions of which some are right and some wrong.

        Args:
            confidence: in [0, 1].
            correct: 1 where the prediction is right, else 0.
        """
        from sklearn.linear_model import LogisticRegression

        regression = LogisticRegression(C=1e6).fit(_logit(confidence).double()[:, None].numpy(), correct.numpy())
        return cls(float(regression.coef_[0, 0]), float(regression.intercept_[0]))

    def __call__(self, confidence: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """Scale confidences, in [0, 1]."""
        return confidence if self == PlattScaling() else torch.sigmoid(self.slope * _logit(confidence) + self.offset)


def _logit(confidence: Tensor) -> Tensor:
    return torch.logit(confidence, _EPS)
