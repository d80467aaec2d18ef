"""Losses: their values, what they ignore, and which models and scenes they fit."""

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
from mnist_seq.errors import UserError
from mnist_seq.nn import build
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.nn.losses import LOSSES, compute_loss, cross_entropy, multiset_loss, remaining_targets, shuffle_digits
from mnist_seq.nn.model import Model
from mnist_seq.training.module import ReaderModule
from mnist_seq.vocabulary import EOS, PAD, encode
from tests.conftest import tiny_models

MODELS = tiny_models()


def test_padding_never_changes_the_loss() -> None:
    logits = torch.randn(2, 5, 13, requires_grad=True)
    targets = torch.tensor([[1, 2, 12, PAD, PAD], [3, 12, PAD, PAD, PAD]])
    config = LossConfig(label_smoothing=0.1)
    out = cross_entropy(logits, targets, config, ignore_index=PAD)
    out.loss.backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(-1) > 0).tolist() == (targets != PAD).tolist()
    assert out.num_targets == 5
    first = cross_entropy(logits[:1, :3], targets[:1, :3], config, ignore_index=PAD).loss * 3
    second = cross_entropy(logits[1:, :2], targets[1:, :2], config, ignore_index=PAD).loss * 2
    torch.testing.assert_close(out.loss, (first + second) / 5)


DIGITS = torch.tensor([[7, 1, 7, PAD], [PAD] * 4, [4, PAD, PAD, PAD]])


def test_remaining_targets_are_spread_over_the_digits_that_are_left() -> None:
    """Welleck et al. 2018: the oracle policy is proportional to the counts of what is left; then comes EOS."""
    targets = remaining_targets(DIGITS, 13)
    torch.testing.assert_close(targets.sum(-1), torch.ones(3, 5))
    assert targets[0, 0, [1, 7]].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert targets[0, 1, [1, 7]].tolist() == pytest.approx([1 / 2, 1 / 2])
    assert targets[0, 2, 7] == 1
    assert (targets[[0, 1, 2], [3, 0, 1], EOS] == 1).all()


class FixedLogits(Model):
    """Returns fixed logits, and remembers the tokens that it was given."""

    output_type = "sequence"

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        self.tokens = tokens
        return self.logits

    def read(self, images: Tensor) -> DecodeOutput:
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        raise NotImplementedError


def scene_batch(digits: Tensor) -> SceneBatch:
    """Scenes with these digits; images, which `FixedLogits` ignores, are blank."""
    blank = torch.zeros(len(digits))
    return SceneBatch(blank, digits, encode(digits), blank, blank, blank, blank)


def test_multiset_loss_accepts_any_digit_that_is_left_and_ignores_padding() -> None:
    logits = torch.randn(3, 5, 13)
    model = FixedLogits(logits).eval()
    for smoothing in (0.0, 0.2):
        out = multiset_loss(model, scene_batch(DIGITS), LossConfig(name="multiset", label_smoothing=smoothing))
        expected = []
        for row, digits in enumerate([[7, 1, 7], [], [4]]):
            for step in range(len(digits) + 1):
                left = digits[step:] or [EOS]
                log_probs = logits[row, step].log_softmax(-1)
                expected.append((smoothing - 1) * log_probs[left].mean() - smoothing * log_probs.mean())
        assert out.num_targets == len(expected) == 7
        assert out.loss.item() == pytest.approx(float(sum(expected)) / 7, rel=1e-5)
    out.loss.backward()
    assert model.logits.grad is not None
    assert (model.logits.grad.abs().sum(-1) > 0).tolist() == (encode(DIGITS)[:, 1:] != PAD).tolist()


def test_multiset_loss_is_lowest_for_the_distribution_of_what_is_left() -> None:
    """The minimum is the entropy of the oracle policy; a model that insists on one order is above it."""
    digits = torch.tensor([[1, 7]])
    batch, config = scene_batch(digits), LossConfig(label_smoothing=0)
    oracle = remaining_targets(digits, 13).clamp(min=1e-9).log()
    one_order = F.one_hot(encode(digits)[:, 1:], 13).clamp(min=1e-9).float().log()
    minimum = multiset_loss(FixedLogits(oracle).eval(), batch, config).loss
    assert minimum.item() == pytest.approx(math.log(2) / 3, abs=1e-4)
    assert multiset_loss(FixedLogits(one_order).eval(), batch, config).loss > minimum + 1
    for _ in range(20):
        perturbed = FixedLogits(oracle + torch.randn_like(oracle)).eval()
        assert multiset_loss(perturbed, batch, config).loss > minimum


def test_shuffling_is_uniform_and_keeps_padding_last() -> None:
    torch.manual_seed(0)
    digits = torch.tensor([[0, 1, 2, PAD, PAD]]).expand(6000, -1)
    shuffled = shuffle_digits(digits)
    assert (shuffled[:, 3:] == PAD).all()
    counts = torch.bincount(shuffled[:, 0] * 9 + shuffled[:, 1] * 3 + shuffled[:, 2])
    assert stats.chisquare(counts[counts > 0]).pvalue > 0.001
    assert (counts > 0).sum() == 6


@pytest.mark.parametrize(("loss", "shuffle"), [("cross_entropy", False), ("cross_entropy", True), ("multiset", False)])
@pytest.mark.parametrize("training", [True, False])
def test_only_order_free_losses_shuffle_and_only_in_training(loss: str, shuffle: bool, training: bool) -> None:
    batch = scene_batch(torch.arange(8).expand(20, -1))
    model = FixedLogits(torch.randn(20, 9, 13)).train(training)
    compute_loss(model, batch, LossConfig(name=loss, shuffle=shuffle))
    assert torch.equal(model.tokens, batch.tokens[:, :-1]) != (training and (shuffle or loss == "multiset"))
    assert torch.equal(model.tokens.sort(1).values, batch.tokens[:, :-1].sort(1).values)


@pytest.mark.parametrize("config", [LossConfig(name="multiset"), LossConfig(shuffle=True)])
def test_order_free_loss_is_refused_for_cell_models_and_ordered_scenes(
    config: LossConfig, grids: SyntheticDataset
) -> None:
    assert {name for name, _ in LOSSES} == set(training.LOSSES)
    unordered = replace(grids.spec, ordered=False)
    ReaderModule(build(MODELS["enc_dec"], unordered), OptimConfig(), config)
    with pytest.raises(UserError, match="needs a sequence model: choose model=enc_dec"):
        ReaderModule(build(MODELS["classifier"], unordered), OptimConfig(), config)
    with pytest.raises(UserError, match="ignores order, but these scenes are ordered"):
        ReaderModule(build(MODELS["enc_dec"], grids.spec), OptimConfig(), config)
