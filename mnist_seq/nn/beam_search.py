"""Beam search (Graves 2012).

Shapes: B batch, K beams, R rows: B times K, T tokens so far, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Int, Num, Shaped
from torch import Tensor

from mnist_seq.errors import UserError
from mnist_seq.nn.decoding import AutoregressiveModel, DecodeOutput, decode_output, forbidden_tokens
from mnist_seq.vocabulary import BOS, NUM_DIGITS, PAD

CacheT = TypeVar("CacheT", bound="ReorderableCache")


@runtime_checkable
class ReorderableCache(Protocol):
    """What beam search needs of a model's cache."""

    def repeat(self: CacheT, times: int) -> CacheT:
        """Repeat each row `times` times, the copies next to each other."""
        ...

    def reorder(self: CacheT, rows: Int[Tensor, " R"]) -> CacheT:
        """Take the tokens of other rows; each belongs to the same image."""
        ...


@torch.no_grad()
def beam_search(
    model: AutoregressiveModel, images: Num[Tensor, "B 1 Y X"], num_beams: int, num_return_sequences: int = 1
) -> DecodeOutput:
    """Extend the most likely partial sequences, for a fixed number of steps. PAD and BOS are never predicted.

    Sequences that ended compete with those that continue, without a length penalty.

    Args:
        images: uint8 grey levels, or floats in [0, 1].
        num_beams: partial sequences kept per image.
        num_return_sequences: sequences returned per image, at most `num_beams`.

    Returns:
        `num_return_sequences` sequences per image, most likely first. Where fewer exist, the score of the rest is minus
        infinity. Sequences that ended are distinct; others may differ only in what follows the longest sequence.

    Raises:
        ValueError: `num_return_sequences` is not in 1..num_beams.
        UserError: the cache of the model has no `repeat` and `reorder`.
    """
    if not 1 <= num_return_sequences <= num_beams:
        raise ValueError(f"num_return_sequences={num_return_sequences} must lie in 1..num_beams={num_beams}")
    batch_size, device = len(images), images.device
    cache = model.start(images)
    if not isinstance(cache, ReorderableCache):
        raise UserError(
            f"the cache of {type(model).__name__} does not implement repeat and reorder, which beam search needs: "
            "choose num_beams=1"
        )
    cache, forbidden = cache.repeat(num_beams), forbidden_tokens(device)
    first_row = torch.arange(batch_size, device=device)[:, None] * num_beams
    tokens = torch.full((batch_size, num_beams, 0), PAD, device=device)
    log_probs = torch.zeros(batch_size, num_beams, 0, device=device)
    score = torch.full((batch_size, num_beams), -torch.inf, device=device)
    score[:, 0] = 0  # all beams start equal: only the first may be extended
    ended = torch.zeros_like(score, dtype=torch.bool)
    token = torch.full((batch_size * num_beams, 1), BOS, device=device)
    for _ in range(model.spec.max_length + 1):
        logits, cache = model.step(token, cache)
        logits = logits[:, -1].masked_fill(forbidden, -torch.inf)
        next_log_probs = logits.float().log_softmax(-1).view(batch_size, num_beams, -1)
        only_pad = torch.full_like(next_log_probs[0, 0], -torch.inf)
        only_pad[PAD] = 0  # a sequence that ended is kept as it is
        next_log_probs = torch.where(ended[..., None], only_pad, next_log_probs)
        score, choice = (score[..., None] + next_log_probs).flatten(1).topk(num_beams)
        parent, token = choice // next_log_probs.shape[-1], choice % next_log_probs.shape[-1]
        chosen_log_probs = next_log_probs.flatten(1).gather(1, choice)
        log_probs = torch.cat([_gather_beams(log_probs, parent), chosen_log_probs[..., None]], -1)
        tokens = torch.cat([_gather_beams(tokens, parent), token[..., None]], -1)
        ended = ended.gather(1, parent) | (token >= NUM_DIGITS)
        cache, token = cache.reorder((first_row + parent).flatten()), token.view(-1, 1)
    output = decode_output(tokens[:, :num_return_sequences], log_probs[:, :num_return_sequences])
    return output._replace(score=score[:, :num_return_sequences])


def _gather_beams(values: Shaped[Tensor, "B K T"], parent: Int[Tensor, "B K"]) -> Shaped[Tensor, "B K T"]:
    """Take for each beam the values of the beam that it extends."""
    return values.gather(1, parent[..., None].expand(-1, -1, values.shape[-1]))
