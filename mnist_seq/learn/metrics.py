"""How right a reading is: a verdict for each scene, sums over many, and intervals that know of shared digits.

Shapes   B scenes   N longest sequence
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from mnist_seq.learn.losses import Taught
from mnist_seq.nn.decoding import Readout
from mnist_seq.tokens import DIGITS, PAD


class Verdict(NamedTuple):
    """What is right and wrong about each reading; B each, float."""

    exact: Tensor
    """The whole sequence is right and came to its end; of a set, in any order."""
    multiset: Tensor
    """The right digits, in whatever order, and their end."""
    digits_right: Tensor
    """Digits read right at their place in the sequence; of a set, at any."""
    digits: Tensor
    """Digits there were."""
    count_right: Tensor
    """As many digits as there were."""
    end_error: Tensor
    """The reading did not come to its end."""


MEASURES = {
    "exact_match": ("exact", None),
    "multiset_match": ("multiset", None),
    "digit_accuracy": ("digits_right", "digits"),
    "count_accuracy": ("count_right", None),
    "end_errors": ("end_error", None),
}
"""Name -> what is summed and by what it is divided: a field of the verdict, or the number of scenes."""


def judge(readout: Readout, digits: Tensor, ordered: bool = True) -> Verdict:
    """Hold readings against the truth.

    Args:
        digits: B N, int64, PAD after the last; N may differ from the readout's.
        ordered: whether the order counts.
    """
    read, digits = _side_by_side(readout, digits)
    there = digits < DIGITS
    in_place = read == digits
    tally, true_tally = _tally(read), _tally(digits)
    multiset = (tally == true_tally).all(1) & readout.ended
    return Verdict(
        exact=(in_place.all(1) & readout.ended if ordered else multiset).float(),
        multiset=multiset.float(),
        digits_right=((in_place & there) if ordered else tally.minimum(true_tally)).sum(1).float(),
        digits=there.sum(1).float(),
        count_right=((read < DIGITS).sum(1) == there.sum(1)).float(),
        end_error=(~readout.ended).float(),
    )


def confusion(readout: Readout, digits: Tensor, ordered: bool = True) -> Tensor:
    """How often each digit was read as which; 10 11, int64, the last column for no digit read.

    Place by place. Where no order counts, digits of both go together as far as they can, and what is left in ascending
    order.
    """
    read, digits = _side_by_side(readout, digits)
    together = torch.zeros(DIGITS, dtype=torch.int64, device=digits.device)
    if not ordered:
        tally, true_tally = _tally(read), _tally(digits)
        together = tally.minimum(true_tally).sum(0)
        read, digits = _left_over(read, true_tally), _left_over(digits, tally)
    there = digits < DIGITS
    pairs = digits[there] * (DIGITS + 1) + read[there].clamp(max=DIGITS)
    counts = torch.bincount(pairs, minlength=DIGITS * (DIGITS + 1)).view(DIGITS, DIGITS + 1)
    return counts + F.pad(together.diag(), (0, 1))


class ReadingScore(Metric):
    """Sums of verdicts and losses over batches and devices, divided once at the end."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.sums: Tensor
        self.loss: Tensor
        self.add_state("sums", torch.zeros(len(Verdict._fields) + 1), dist_reduce_fx="sum")  # exact up to 2**24
        self.add_state("loss", torch.zeros(2), dist_reduce_fx="sum")

    def update(self, readout: Readout, digits: Tensor, taught: Taught, ordered: bool = True) -> None:
        verdict = judge(readout, digits, ordered)
        scenes = torch.ones_like(verdict.exact)
        self.sums += torch.stack([*verdict, scenes]).sum(1)
        self.loss += torch.stack([taught.loss.float() * taught.total, taught.total.float()])

    def compute(self) -> dict[str, Tensor]:
        """Every measure, and the mean loss a target."""
        sums = dict(zip([*Verdict._fields, None], self.sums, strict=True))
        values = {name: share(sums[top], sums[bottom]) for name, (top, bottom) in MEASURES.items()}
        return values | {"loss": self.loss[0] / self.loss[1]}


def share(right: Tensor, total: Tensor) -> Tensor:
    """The one of the other; of nothing, all is right."""
    return torch.where(total > 0, right / total, 1.0)


def interval(right: Tensor, total: Tensor, sources: Tensor) -> tuple[float, float]:
    """95 % interval of sum(right) / sum(total) over scenes that may share source digits.

    The variance sums the products of the scenes' errors over all pairs that share a digit (PROTOCOLS; a cluster-robust
    variance by overlapping groups, Cameron, Gelbach & Miller 2011). It sets the effective number of scenes of a Wilson
    interval (Wilson 1927), which stays sensible when nearly all is right.

    Args:
        right: B, what is counted in each scene.
        total: B, out of how many.
        sources: B N, indices of the scene's source digits, negative where there is none.
    """
    from scipy.sparse import csr_array

    if not total.sum():
        return 0.0, 1.0
    right_, total_ = right.double().numpy(), total.double().numpy()
    value = right_.sum() / total_.sum()
    residual = (right_ - value * total_) / total_.sum()
    scene, slot = np.nonzero(sources.numpy() >= 0)
    digit = sources.numpy()[scene, slot]
    shows = csr_array((np.ones(len(scene)), (scene, digit)), shape=(len(right_), int(digit.max(initial=0)) + 1))
    shared = shows @ shows.T
    shared.data[:] = 1  # a pair counts once, however many digits it shares
    shared = shared.tolil()
    shared.setdiag(1)  # also a scene without a digit goes with itself
    variance = float(residual @ (shared.tocsr() @ residual))
    effective = value * (1 - value) / variance if variance > 0 and 0 < value < 1 else float(total_.sum())
    return wilson(float(value), effective)


def _side_by_side(readout: Readout, digits: Tensor) -> tuple[Tensor, Tensor]:
    """What was read and what there is, in as many slots as the longer needs."""
    longest = max(readout.digits.shape[1], digits.shape[1])
    read, there = (F.pad(each, (0, longest - each.shape[1]), value=PAD) for each in (readout.digits, digits))
    return read, there


def _tally(digits: Tensor) -> Tensor:
    """How often each digit is there; B 10."""
    return F.one_hot(digits.clamp(max=DIGITS), DIGITS + 1).sum(1)[:, :DIGITS]


def _left_over(digits: Tensor, others: Tensor) -> Tensor:
    """Each row's digits, ascending, without as many of each as the others, B 10, have; B N, PAD after the last."""
    ascending = digits.sort(1).values
    smaller = (ascending[:, None] < ascending[..., None]).sum(-1)
    rank = torch.arange(digits.shape[1], device=digits.device) - smaller  # among those that are the same
    found = rank < F.pad(others, (0, PAD + 1 - DIGITS)).gather(1, ascending)
    return ascending.masked_fill(found, PAD).sort(1).values


def wilson(share: float, trials: float) -> tuple[float, float]:
    """95 % interval of a share seen in so many independent trials (Wilson 1927)."""
    z = 1.959964
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    return max(0.0, centre - reach), min(1.0, centre + reach)
