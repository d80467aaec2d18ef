"""Optimizers and learning-rate schedules."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from mnist_seq.config import LossConfig, OptimConfig, Spec, training
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.nn import build
from mnist_seq.nn.losses import compute_loss
from mnist_seq.training import hardware, optim
from mnist_seq.training.muon import Muon, orthogonalize
from tests.conftest import tiny_models

MODELS = tiny_models()


@pytest.mark.parametrize("name", MODELS)
def test_norms_biases_and_positions_are_not_decayed(name: str) -> None:
    model = build(MODELS[name], Spec(56, 56, 4, (2, 2)))
    decayed, others = optim.adamw(model, OptimConfig(weight_decay=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1
    assert others["weight_decay"] == 0
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert len(decayed["params"]) + len(others["params"]) == len(names)
    for weight in decayed["params"]:
        assert names[id(weight)].endswith(".weight")
        assert "norm" not in names[id(weight)]
        assert "position" not in names[id(weight)]
        assert "class_tokens" not in names[id(weight)]


@pytest.mark.parametrize("name", MODELS)
def test_muon_optimizes_the_matrices_of_the_blocks_and_adamw_the_rest(name: str) -> None:
    model = build(MODELS[name], Spec(56, 56, 4, (2, 2)))
    optimizer = optim.muon(model, OptimConfig(name="muon", weight_decay=0.1))
    names = {id(weight): name for name, weight in model.named_parameters()}
    hidden, decayed, others = ({names[id(weight)] for weight in group["params"]} for group in optimizer.param_groups)
    assert len(hidden) + len(decayed) + len(others) == len(names)
    assert hidden == {
        key
        for key, weight in model.named_parameters()
        if weight.ndim == 2 and (".blocks." in f".{key}" or key.startswith("decoder."))
    }
    adamw_decayed = optim.adamw(model, OptimConfig()).param_groups[0]["params"]
    assert decayed | hidden == {names[id(weight)] for weight in adamw_decayed}


def test_muon_equals_muon_and_adamw_of_torch_on_their_own_weights(
    grids: SyntheticDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the rounding of Muon's products in bfloat16, the only dtype that torch.optim.Muon supports.

    Also after the state went through a checkpoint.
    """
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: True)
    config = OptimConfig(name="muon", lr=1e-2)
    torch.manual_seed(0)
    ours, theirs = (build(MODELS["enc_dec"], grids.spec) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    combined = optim.muon(ours, config)
    hidden, *others = optim.muon(theirs, config).param_groups
    separate = [
        torch.optim.Muon(hidden["params"], lr=1e-2, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [{"params": group["params"], "weight_decay": group["weight_decay"]} for group in others],
            lr=1e-2,
            betas=config.betas,
            fused=True,
        ),
    ]
    for step in range(6):
        if step == 3:
            state = combined.state_dict()
            combined = optim.muon(ours, config)
            combined.load_state_dict(state)
        compute_loss(ours, grids[:8], LossConfig()).loss.backward()
        for our_weight, their_weight in zip(ours.parameters(), theirs.parameters(), strict=True):
            their_weight.grad = our_weight.grad.clone() if our_weight.grad is not None else None
        for optimizer in (combined, *separate):
            optimizer.step()
        combined.zero_grad()
    matrices = {id(matrix) for matrix in hidden["params"]}
    for our_weight, their_weight in zip(ours.parameters(), theirs.parameters(), strict=True):
        tolerance = 0.02 * 0.2 * config.lr if id(their_weight) in matrices else 0  # of the size of an update
        torch.testing.assert_close(our_weight, their_weight, rtol=0, atol=tolerance * 6)


@pytest.mark.parametrize("shape", [(128, 128), (128, 512), (384, 128), (1, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalize_sets_singular_values_near_one_and_keeps_singular_vectors(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    """For singular values of at least 1/30 of the largest."""
    generator = torch.Generator().manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(3, *shape, generator=generator), full_matrices=False)
    values = torch.logspace(0, -1.5, min(shape))
    sizes = torch.tensor([7.0, 0.1, 50])[:, None, None]
    aligned = left.mT @ orthogonalize(sizes * left @ values.diag() @ right, dtype).float() @ right.mT
    kept = aligned.diagonal(dim1=1, dim2=2)
    assert kept.min() > 0.5
    assert kept.max() < 1.3
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    assert (aligned - kept.diag_embed()).abs().max() < tolerance


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_muon_computes_in_bfloat16_only_where_the_cpu_has_instructions_for_it(
    supported: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: supported)
    start = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    weight = start.clone().requires_grad_()
    weight.grad = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))
    Muon([weight], lr=1.0, weight_decay=0.0, momentum=0.0).step()
    assert torch.equal(weight, start.add(orthogonalize(weight.grad[None], dtype)[0], alpha=-0.8))


@pytest.mark.parametrize("schedule", training.SCHEDULES)
def test_learning_rate_warms_up_peaks_and_decays(schedule: str) -> None:
    config = OptimConfig(warmup_steps=10, schedule=schedule, final_lr_ratio=0.1)
    factors = [optim.lr_factor(config, 100, step) for step in range(101)]
    short_run = [optim.lr_factor(replace(config, decay_fraction=1), 20, step) for step in range(21)]
    assert short_run[10] == 1, "the decay never starts within the warm-up"
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == max(factors) == 1
    assert all(later <= earlier for earlier, later in pairwise(factors[10:]))
    assert factors[100] == pytest.approx(1 if schedule == "constant" else 0.1)
    if schedule == "wsd":
        assert factors[70] == 1
        assert factors[85] == pytest.approx(0.55)


def test_every_optimizer_of_the_config_is_implemented() -> None:
    assert set(training.OPTIMIZERS) == set(optim.OPTIMIZERS)


@pytest.mark.parametrize("optimizer_name", optim.OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_one_batch_can_be_overfitted(name: str, optimizer_name: str, grids: SyntheticDataset) -> None:
    torch.manual_seed(0)
    model, batch, config = build(MODELS[name], grids.spec), grids[:8], LossConfig(label_smoothing=0)
    optimizer = optim.OPTIMIZERS[optimizer_name](model, OptimConfig(lr=1e-2))
    for step in range(200):
        for group in optimizer.param_groups:  # without a warm-up post-norm does not learn (Xiong et al. 2020)
            group["lr"] = 1e-2 * min(1, (step + 1) / 20)
        optimizer.zero_grad()
        compute_loss(model, batch, config).loss.backward()
        optimizer.step()
    predictions = model.eval().read(batch.images)
    assert torch.equal(predictions.digits, batch.digits)
    assert predictions.ended.all()
