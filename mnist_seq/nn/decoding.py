"""From logits to readings: greedily, by beam search, or cell by cell.

Shapes   B batch   K hypotheses   N longest sequence   C cells   V vocabulary
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from mnist_seq.config import Spec
from mnist_seq.errors import UserError
from mnist_seq.vocabulary import BOS, EMPTY_CELL, EOS, NUM_DIGITS, PAD, VOCABULARY


class DecodeOutput(NamedTuple):
    """What a model read; with a dimension K after B where several readings of each image are wanted, likeliest first.

    A reading ends with its first token that is no digit.
    """

    digits: Tensor
    """B N, int64, PAD after the last."""
    log_probs: Tensor
    """B N, of each digit given those before it; 0 after the last."""
    score: Tensor
    """B, log-probability of the whole reading, its end included."""
    ended: Tensor
    """B, bool: the end token was written, within the longest sequence."""
    cells: Tensor | None = None
    """B C, int64, digits or EMPTY, where the model reads by cells."""

    @property
    def probs(self) -> Tensor:
        """B N, of each digit given those before it; 1 after the last."""
        return self.log_probs.exp()

    @property
    def confidence(self) -> Tensor:
        """B, probability of the whole reading, its end included."""
        return self.score.exp()

    @property
    def best(self) -> DecodeOutput:
        """Of several readings of each image the likeliest."""
        return DecodeOutput(self.digits[:, 0], self.log_probs[:, 0], self.score[:, 0], self.ended[:, 0])


CacheT = TypeVar("CacheT", bound="ReorderableCache")


@runtime_checkable
class ReorderableCache(Protocol):
    """What readings have seen so far, a row each."""

    def repeat(self: CacheT, times: int) -> CacheT:
        """Each row so many times, one after the other."""
        ...

    def reorder(self: CacheT, rows: Tensor) -> CacheT:
        """What other rows of the same images have seen."""
        ...


@runtime_checkable
class AutoregressiveModel(Protocol):
    """What decoding needs of a model."""

    spec: Spec

    def start(self, images: Tensor) -> Any:
        """The cache of images of which nothing has been read yet; `Reorderable`, for beam search."""

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits of the tokens after these, B L V, and the cache with these in it."""


@torch.no_grad()
def greedy(model: AutoregressiveModel, images: Tensor, constrain: bool = True) -> DecodeOutput:
    """Write the likeliest token again and again, a fixed number of steps.

    Args:
        images: B 1 H W.
        constrain: never write PAD or BOS.
    """
    cache, forbidden = model.start(images), _forbidden_mask(constrain, images.device)
    token = torch.full((images.shape[0], 1), BOS, device=images.device)  # len() would fix the batch of an ONNX graph
    written, found = [], []
    for _ in range(model.spec.max_length + 1):
        logits, cache = model.step(token, cache)
        logits = _next_logits(logits, forbidden)
        token = logits.argmax(-1, keepdim=True)
        written.append(token)
        found.append(logits)
    tokens = torch.cat(written, 1)
    certain = torch.stack(found, 1).float().log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    ends = (tokens >= NUM_DIGITS).int()
    beyond = ends.cumsum(1) > ends  # what was written after a first token that is no digit
    return _decode_output(tokens.masked_fill(beyond, PAD), certain.masked_fill(beyond, 0))


@torch.no_grad()
def beam_search(
    model: AutoregressiveModel, images: Tensor, num_beams: int, num_return_sequences: int = 1, constrain: bool = True
) -> DecodeOutput:
    """Keep the likeliest beginnings, write all that may follow, and again, a fixed number of steps (Graves 2012).

    Readings that ended stay as they are among those that go on; none is favoured for its length.

    Args:
        images: B 1 H W.
        width: beginnings kept of each image.
        best: readings returned of each image, at most `width`.
        constrain: never write PAD or BOS.

    Returns:
        `best` readings of each image, likeliest first: K in every shape. Where there are fewer, the score of the rest
        is minus infinity. Those that ended are distinct; others may differ in what goes beyond the longest sequence.
    """
    if not 1 <= num_return_sequences <= num_beams:
        raise ValueError(f"best={num_return_sequences} must lie in 1..width={num_beams}")
    images_, device = len(images), images.device
    cache = model.start(images)
    if not isinstance(cache, ReorderableCache):
        raise UserError(
            f"the cache of {type(model).__name__} has no repeat and reorder, which beam search needs: read greedily"
        )
    cache, forbidden = cache.repeat(num_beams), _forbidden_mask(constrain, device)
    first_row = torch.arange(images_, device=device)[:, None] * num_beams
    written = torch.full((images_, num_beams, 0), PAD, device=device)
    certain = torch.zeros(images_, num_beams, 0, device=device)
    score = torch.full((images_, num_beams), -torch.inf, device=device)
    score[:, 0] = 0  # at first all hypotheses are one
    ended = torch.zeros_like(score, dtype=torch.bool)
    token = torch.full((images_ * num_beams, 1), BOS, device=device)
    for _ in range(model.spec.max_length + 1):
        logits, cache = model.step(token, cache)
        following = _next_logits(logits, forbidden).float().log_softmax(-1).view(images_, num_beams, -1)
        nothing = torch.full_like(following[0, 0], -torch.inf)
        nothing[PAD] = 0  # the only thing that follows an end
        following = torch.where(ended[..., None], nothing, following)
        score, choice = (score[..., None] + following).flatten(1).topk(num_beams)
        parent, token = choice // following.shape[-1], choice % following.shape[-1]
        certain = torch.cat([_gather_beams(certain, parent), following.flatten(1).gather(1, choice)[..., None]], -1)
        written = torch.cat([_gather_beams(written, parent), token[..., None]], -1)
        ended = ended.gather(1, parent) | (token >= NUM_DIGITS)
        cache, token = cache.reorder((first_row + parent).flatten()), token.view(-1, 1)
    return _decode_output(written[:, :num_return_sequences], certain[:, :num_return_sequences])._replace(
        score=score[:, :num_return_sequences]
    )


def by_cells(logits: Tensor) -> DecodeOutput:
    """The non-empty cells in raster order.

    Args:
        logits: B C 11.
    """
    certain, cells = logits.float().log_softmax(-1).max(-1)
    empty = cells == EMPTY_CELL
    places = torch.arange(cells.shape[1], device=cells.device)
    order = (empty * len(places) + places).argsort(1)  # ONNX knows no stable sort
    beyond = empty.gather(1, order)
    return DecodeOutput(
        digits=cells.gather(1, order).masked_fill(beyond, PAD),
        log_probs=certain.gather(1, order).masked_fill(beyond, 0),
        score=certain.sum(1),
        ended=torch.ones_like(empty[:, 0]),
        cells=cells,
    )


def _decode_output(tokens: Tensor, log_probs: Tensor) -> DecodeOutput:
    """Of tokens written in N+1 steps, PAD after the first that is no digit, and their log-probabilities, 0 there."""
    digits, beyond = tokens[..., :-1], tokens[..., :-1] >= NUM_DIGITS
    return DecodeOutput(
        digits=digits.masked_fill(beyond, PAD),
        log_probs=log_probs[..., :-1].masked_fill(beyond, 0),
        score=log_probs.sum(-1),
        ended=(tokens == EOS).any(-1),
    )


def _forbidden_mask(constrain: bool, device: torch.device) -> Tensor | None:
    """What no reading may hold: padding and a second beginning; V, bool."""
    tokens = torch.arange(len(VOCABULARY), device=device)
    return (tokens == PAD) | (tokens == BOS) if constrain else None


def _next_logits(logits: Tensor, forbidden: Tensor | None) -> Tensor:
    """Of logits B L V those of the next token, B V; minus infinity where it is forbidden."""
    following = logits[:, -1]
    return following if forbidden is None else following.masked_fill(forbidden, -torch.inf)


def _gather_beams(values: Tensor, parent: Tensor) -> Tensor:
    """What each new hypothesis, B K, has from the one that it continues; B K T."""
    return values.gather(1, parent[..., None].expand(-1, -1, values.shape[-1]))
