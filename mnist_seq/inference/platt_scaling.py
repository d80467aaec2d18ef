"""Platt scaling: calibrate the confidence, so that it is the fraction of such readings that are correct.

Shapes   B sequences
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mnist_seq.config.validation import check
from mnist_seq.nn.decoding import DecodeOutput

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
        """Fit both numbers by logistic regression, with Platt's targets, which are a little off 0 and 1.

        Args:
            confidence: in [0, 1].
            correct: 1 where the prediction is right, else 0.

        Raises:
            UserError: all predictions are right, or all wrong, or the confident ones are no better than the others.
        """
        from sklearn.linear_model import LogisticRegression

        num_right, num_wrong = float(correct.sum()), float((1 - correct).sum())
        message = (
            f"confidence cannot be scaled on these predictions, {num_right:.0f} right and {num_wrong:.0f} wrong: it "
            "requires both, and the confident ones must be right more often than the others"
        )
        check(num_right > 0 and num_wrong > 0, message)
        targets = torch.where(correct > 0, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2)).double()
        features = _logit(confidence.double())[:, None].repeat(2, 1)
        classes, weights = torch.arange(2).repeat_interleave(len(correct)), torch.cat([1 - targets, targets])
        regression = LogisticRegression(C=1e6).fit(features.numpy(), classes.numpy(), weights.numpy())
        slope, offset = float(regression.coef_[0, 0]), float(regression.intercept_[0])
        check(slope > 0, message)
        return cls(slope, offset)

    def __call__(self, confidence: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """Scale confidences, in [0, 1]."""
        return confidence if self == PlattScaling() else torch.sigmoid(self.slope * _logit(confidence) + self.offset)

    def rescore(self, output: DecodeOutput) -> DecodeOutput:
        """Return predictions with scaled confidences; the probabilities of their digits stay as they are."""
        return output if self == PlattScaling() else output._replace(score=self(output.confidence).log())

    def rescore_beams(self, beams: DecodeOutput) -> DecodeOutput:
        """Return the beams of an image, best first, with scaled confidences.

        The scaling is fitted on best readings. The others exclude it and each other, so they share what it leaves.
        """
        if self == PlattScaling():
            return beams
        confidence = beams.confidence
        best = self(confidence[:1])
        others = confidence[1:] * (1 - best) / (1 - confidence[:1]).clamp(min=_EPS)
        return beams._replace(score=torch.cat([best, others.minimum(best)]).log())


def _logit(confidence: Tensor) -> Tensor:
    return torch.logit(confidence, _EPS)
