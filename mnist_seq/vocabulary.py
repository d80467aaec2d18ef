"""The vocabulary: the digits 0-9 and the special tokens PAD, BOS and EOS."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NUM_DIGITS = 10
PAD, BOS, EOS = 10, 11, 12
VOCABULARY = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "PAD", "BOS", "EOS")

EMPTY_CELL = 10
"""The classifier's eleventh class: a cell without a digit."""


def encode(digits: Tensor) -> Tensor:
    """Convert digits to token sequences: BOS, the digits, EOS, then PAD.

    Args:
        digits: (B, N) int64; each row has its digits in reading order, then PAD.

    Returns:
        (B, N+2) int64. `[:, :-1]` is the decoder's input and `[:, 1:]` its target.
    """
    batch, length = digits.shape
    counts = (digits < NUM_DIGITS).sum(1, keepdim=True)
    tokens = digits.new_full((batch, length + 2), PAD)
    tokens[:, 0] = BOS
    tokens[:, 1:-1] = digits
    return tokens.scatter(1, counts + 1, EOS)


def decode(tokens: Tensor) -> list[list[int]]:
    """Convert token sequences to lists of digits: up to the first token that is not a digit.

    Args:
        tokens: (B, T) int64, with or without the leading BOS.
    """
    sequences = (row[1:] if row[:1] == [BOS] else row for row in tokens.tolist())
    return [list(takewhile(lambda token: token < NUM_DIGITS, sequence)) for sequence in sequences]
