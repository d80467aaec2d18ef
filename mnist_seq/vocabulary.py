"""The only vocabulary: the ten digits, and the three tokens that frame a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NUM_DIGITS = 10
PAD, BOS, EOS = 10, 11, 12
VOCABULARY = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "PAD", "BOS", "EOS")

EMPTY_CELL = 10
"""The classifier's eleventh class: a cell without a digit."""


def encode(digits: Tensor) -> Tensor:
    """Frame digits as a target sequence: BOS, the digits, EOS, then PAD.

    Args:
        digits: B N, int64, each row its digits in reading order and then PAD.

    Returns:
        B N+2, int64. The decoder reads `[:, :-1]` and is asked for `[:, 1:]`.
    """
    scenes, slots = digits.shape
    counts = (digits < NUM_DIGITS).sum(1, keepdim=True)
    tokens = digits.new_full((scenes, slots + 2), PAD)
    tokens[:, 0] = BOS
    tokens[:, 1:-1] = digits
    return tokens.scatter(1, counts + 1, EOS)


def decode(tokens: Tensor) -> list[list[int]]:
    """The digits of each row: after BOS where there is one, up to the first token that is no digit.

    Args:
        tokens: B T, int64, with or without the leading BOS.
    """
    sequences = []
    for row in tokens.tolist():
        body = row[1:] if row[:1] == [BOS] else row
        end = next((place for place, token in enumerate(body) if token >= NUM_DIGITS), len(body))
        sequences.append(body[:end])
    return sequences
