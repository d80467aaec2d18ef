"""What is taught, and by which loss."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from mnist_seq.config import LossConfig, OptimConfig, training
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.render import SceneBatch
from mnist_seq.nn import build
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.nn.losses import LOSSES, compute_loss, cross_entropy, multiset_loss, remaining_targets, shuffle_digits
from mnist_seq.nn.model import Model
from mnist_seq.training.module import ReaderModule
from mnist_seq.vocabulary import EOS, PAD, encode
from tests.conftest import tiny_models

MODELS = tiny_models()


def test_padding_is_inert_in_the_loss() -> None:
    logits = torch.randn(2, 5, 13, requires_grad=True)
    targets = torch.tensor([[1, 2, 12, PAD, PAD], [3, 12, PAD, PAD, PAD]])
    smooth = LossConfig(label_smoothing=0.1)
    went = cross_entropy(logits, targets, smooth, ignore_index=PAD)
    went.loss.backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(-1) > 0).tolist() == (targets != PAD).tolist()
    assert went.num_targets == 5
    alone = cross_entropy(logits[:1, :3], targets[:1, :3], smooth, ignore_index=PAD).loss * 3
    other = cross_entropy(logits[1:, :2], targets[1:, :2], smooth, ignore_index=PAD).loss * 2
    torch.testing.assert_close(went.loss, (alone + other) / 5)
    summed = cross_entropy(logits, targets, LossConfig(label_smoothing=0.1, reduction="sum"), ignore_index=PAD)
    torch.testing.assert_close(summed.loss, (alone + other) / 2, msg="a sum over a scene's targets, a mean over scenes")


DIGITS_LEFT = torch.tensor([[7, 1, 7, PAD], [PAD] * 4, [4, PAD, PAD, PAD]])


def test_what_remains_is_spread_over_the_digits_not_yet_read() -> None:
    """Welleck et al. 2018: the oracle policy is uniform over what is left, by number; then the end."""
    left = remaining_targets(DIGITS_LEFT, 13)
    torch.testing.assert_close(left.sum(-1), torch.ones(3, 5))
    assert left[0, 0, [1, 7]].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert left[0, 1, [1, 7]].tolist() == pytest.approx([1 / 2, 1 / 2])
    assert left[0, 2, 7] == 1
    assert (left[[0, 1, 2], [3, 0, 1], EOS] == 1).all()


class Told(Model):
    """Writes what its logits say, whatever it sees."""

    output_type = "sequence"

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        self.told = tokens
        return self.logits

    def read(self, images: Tensor) -> DecodeOutput:
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        raise NotImplementedError


def test_the_multiset_loss_counts_any_digit_that_is_left_and_no_padding() -> None:
    digits, logits = DIGITS_LEFT, torch.randn(3, 5, 13)
    blank = torch.zeros(3)
    scenes = SceneBatch(blank, digits, encode(digits), blank, blank, blank, blank)
    model = Told(logits).eval()
    for smoothing in (0.0, 0.2):
        went = multiset_loss(model, scenes, LossConfig(name="multiset", label_smoothing=smoothing))
        by_hand = []
        for row, held in enumerate([[7, 1, 7], [], [4]]):
            for place in range(len(held) + 1):
                left = held[place:] or [EOS]
                logs = logits[row, place].log_softmax(-1)
                by_hand.append((smoothing - 1) * logs[left].mean() - smoothing * logs.mean())
        assert went.num_targets == len(by_hand) == 7
        assert went.loss.item() == pytest.approx(float(sum(by_hand)) / 7, rel=1e-5)
    went.loss.backward()
    assert model.logits.grad is not None
    assert (model.logits.grad.abs().sum(-1) > 0).tolist() == (encode(digits)[:, 1:] != PAD).tolist()


def test_the_multiset_loss_is_least_where_belief_is_spread_over_what_is_left() -> None:
    """The bound is the entropy of the oracle; a writer that insists on the order that it was told is above it."""
    digits, blank = torch.tensor([[1, 7]]), torch.zeros(1)
    scenes = SceneBatch(blank, digits, encode(digits), blank, blank, blank, blank)
    plainly = LossConfig(label_smoothing=0)
    even = remaining_targets(digits, 13).clamp(min=1e-9).log()
    sure = F.one_hot(encode(digits)[:, 1:], 13).clamp(min=1e-9).float().log()
    least = multiset_loss(Told(even).eval(), scenes, plainly).loss
    assert least.item() == pytest.approx(math.log(2) / 3, abs=1e-4)
    assert multiset_loss(Told(sure).eval(), scenes, plainly).loss > least + 1
    for _ in range(20):
        other = Told(even + torch.randn_like(even)).eval()
        assert multiset_loss(other, scenes, plainly).loss > least


def test_shuffling_keeps_digits_first_and_is_uniform() -> None:
    torch.manual_seed(0)
    digits = torch.tensor([[0, 1, 2, PAD, PAD]]).expand(6000, -1)
    drawn = shuffle_digits(digits)
    assert (drawn[:, 3:] == PAD).all()
    orders = torch.bincount(drawn[:, 0] * 9 + drawn[:, 1] * 3 + drawn[:, 2])
    assert stats.chisquare(orders[orders > 0]).pvalue > 0.001
    assert (orders > 0).sum() == 6


@pytest.mark.parametrize(("loss", "shuffle"), [("cross_entropy", False), ("cross_entropy", True), ("multiset", False)])
@pytest.mark.parametrize("training", [True, False])
def test_only_losses_for_sets_shuffle_and_only_in_training(loss: str, shuffle: bool, training: bool) -> None:
    digits, blank = torch.arange(8).expand(20, -1), torch.zeros(20)
    scenes = SceneBatch(blank, digits, encode(digits), blank, blank, blank, blank)
    model = Told(torch.randn(20, 9, 13)).train(training)
    compute_loss(model, scenes, LossConfig(name=loss, shuffle=shuffle))
    assert torch.equal(model.told, scenes.tokens[:, :-1]) != (training and (shuffle or loss == "multiset"))
    assert torch.equal(model.told.sort(1).values, scenes.tokens[:, :-1].sort(1).values)


@pytest.mark.parametrize("config", [LossConfig(name="multiset"), LossConfig(shuffle=True)])
def test_a_loss_that_would_teach_the_wrong_thing_is_refused_before_any_training(
    config: LossConfig, grids: SyntheticDataset
) -> None:
    assert {name for name, _ in LOSSES} == set(training.LOSSES)
    sets = replace(grids.spec, ordered=False)
    ReaderModule(build(MODELS["enc_dec"], sets), OptimConfig(), config)
    with pytest.raises(ValueError, match="teaches no model that reads by cells: try model=enc_dec"):
        ReaderModule(build(MODELS["classifier"], sets), OptimConfig(), config)
    with pytest.raises(ValueError, match="teaches sets, but these scenes are read in order"):
        ReaderModule(build(MODELS["enc_dec"], grids.spec), OptimConfig(), config)
