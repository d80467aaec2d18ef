"""From logits to digit sequences: greedy decoding, and the classes of cells. Beam search: beam_search.py.

Shapes: B batch, K sequences per image, N longest sequence, T its steps: N + 1, C cells, V vocabulary, L tokens,
S steps taken.
"""

from __future__ import annotations

import warnings
from pkgutil import resolve_name
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from mnist_seq.config import Spec
from mnist_seq.vocabulary import BOS, EMPTY_CELL, EOS, NUM_DIGITS, PAD, VOCABULARY


class DecodeOutput(NamedTuple):
    """Predicted sequences. A sequence ends at its first token that is not a digit.

    With several sequences per image, most likely first, every shape has K after B.
    """

    digits: Int[Tensor, "*B N"]
    """PAD after the last digit."""
    log_probs: Float[Tensor, "*B N"]
    """Log-probability of each digit given those before it, nats; 0 after the last."""
    score: Float[Tensor, "*B"]
    """Log-probability of the whole sequence including its end, nats."""
    ended: Bool[Tensor, "*B"]
    """Whether EOS was predicted within the longest sequence."""
    cells: Int[Tensor, "B C"] | None = None
    """Class of each cell, a digit or EMPTY_CELL; None for a sequence model."""

    @property
    def probs(self) -> Float[Tensor, "*B N"]:
        """Probability of each digit given those before it; 1 after the last."""
        return self.log_probs.exp()

    @property
    def confidence(self) -> Float[Tensor, "*B"]:
        """Probability of the whole sequence including its end."""
        return self.score.exp()

    @property
    def best(self) -> DecodeOutput:
        """The most likely of several sequences per image."""
        return self.select((slice(None), 0))

    def select(self, index: Any) -> DecodeOutput:
        """Index every tensor alike, along the batch first; without the cells."""
        return DecodeOutput(self.digits[index], self.log_probs[index], self.score[index], self.ended[index])


@runtime_checkable
class AutoregressiveModel(Protocol):
    """What decoding needs of a model."""

    spec: Spec

    def start(self, images: Num[Tensor, "B 1 Y X"]) -> Any:
        """Encode images: the cache before the first token; a `ReorderableCache` where beam search is used."""

    def step(self, tokens: Int[Tensor, "B L"], cache: Any) -> tuple[Float[Tensor, "B L V"], Any]:
        """Decode L more tokens: return their logits, and the cache extended by them."""


@torch.no_grad()
def greedy(model: AutoregressiveModel, images: Num[Tensor, "B 1 Y X"]) -> DecodeOutput:
    """Predict the most likely token at each step. PAD and BOS are never predicted.

    On a CPU, decoding stops once every sequence has ended; on a GPU, that check would synchronize at each step.

    Args:
        images: uint8 grey levels, or floats in [0, 1].
    """
    cache, forbidden = model.start(images), forbidden_tokens(images.device)
    token = torch.full((images.shape[0], 1), BOS, device=images.device)  # len() would fix the batch of an ONNX graph
    may_stop = images.device.type == "cpu" and not torch.compiler.is_exporting()
    num_steps, all_tokens, all_logits = model.spec.max_length + 1, list[Tensor](), list[Tensor]()
    for _ in range(num_steps):
        logits, cache = model.step(token, cache)
        logits = logits[:, -1].masked_fill(forbidden, -torch.inf)
        token = logits.argmax(-1, keepdim=True)
        all_tokens.append(token)
        all_logits.append(logits)
        if may_stop and (torch.cat(all_tokens, 1) >= NUM_DIGITS).any(1).all():
            break
    tokens = torch.cat(all_tokens, 1)
    log_probs = torch.stack(all_logits, 1).float().log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    return output_of_steps(tokens, log_probs, num_steps)


def output_of_steps(tokens: Int[Tensor, "B S"], log_probs: Float[Tensor, "B S"], num_steps: int) -> DecodeOutput:
    """Build the output from S steps, padded to `num_steps`; if S is smaller, every sequence has ended.

    Args:
        tokens: predicted at each step, also after the end of a sequence.
        log_probs: of each token, nats.
    """
    missing = tokens.new_full((tokens.shape[0], num_steps), PAD)
    tokens, log_probs = (torch.cat([it, missing.to(it.dtype)], 1)[:, :num_steps] for it in (tokens, log_probs))
    is_end = (tokens >= NUM_DIGITS).int()
    after_end = is_end.cumsum(1) > is_end
    return decode_output(tokens.masked_fill(after_end, PAD), log_probs.masked_fill(after_end, 0))


def by_cells(logits: Float[Tensor, "B C 11"]) -> DecodeOutput:
    """Predict the most likely class of each cell, and list the non-empty cells in raster order."""
    log_probs, cells = logits.float().log_softmax(-1).max(-1)
    is_empty = cells == EMPTY_CELL
    index = torch.arange(cells.shape[1], device=cells.device)
    order = (is_empty * len(index) + index).argsort(1)  # ONNX knows no stable sort
    after_last = is_empty.gather(1, order)
    return DecodeOutput(
        digits=cells.gather(1, order).masked_fill(after_last, PAD),
        log_probs=log_probs.gather(1, order).masked_fill(after_last, 0),
        score=log_probs.sum(1),
        ended=torch.ones_like(is_empty[:, 0]),
        cells=cells,
    )


def decode_output(tokens: Int[Tensor, "*B T"], log_probs: Float[Tensor, "*B T"]) -> DecodeOutput:
    """Build the output from the tokens of N+1 steps.

    Args:
        tokens: PAD after the first token that is not a digit.
        log_probs: of each token, nats; 0 where it is PAD.
    """
    digits, is_end = tokens[..., :-1], tokens[..., :-1] >= NUM_DIGITS
    return DecodeOutput(
        digits=digits.masked_fill(is_end, PAD),
        log_probs=log_probs[..., :-1].masked_fill(is_end, 0),
        score=log_probs.sum(-1),
        ended=(tokens == EOS).any(-1),
    )


def forbidden_tokens(device: torch.device) -> Bool[Tensor, " V"]:
    """Mask the tokens that no prediction may hold: PAD and BOS."""
    tokens = torch.arange(len(VOCABULARY), device=device)
    return (tokens == PAD) | (tokens == BOS)


_RENAMED = {
    "Readout": "mnist_seq.nn.decoding.DecodeOutput",
    "Writer": "mnist_seq.nn.decoding.AutoregressiveModel",
    "beam": "mnist_seq.nn.beam_search.beam_search",
}
"""Names that custom models may still use."""


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{__name__}.{name} is now {_RENAMED[name]}", FutureWarning, stacklevel=2)
    return resolve_name(_RENAMED[name])
