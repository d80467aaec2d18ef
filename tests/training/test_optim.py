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
def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest(name: str) -> None:
    model = build(MODELS[name], Spec(56, 56, 4, (2, 2)))
    optimizer = optim.muon(model, OptimConfig(name="muon", weight_decay=0.1))
    names = {id(weight): name for name, weight in model.named_parameters()}
    hidden, decayed, others = ({names[id(weight)] for weight in group["params"]} for group in optimizer.param_groups)
    assert len(hidden) + len(decayed) + len(others) == len(names)
    assert hidden == {it for it, weight in model.named_parameters() if ".blocks." in f".{it}" and weight.ndim == 2} | {
        it for it, weight in model.named_parameters() if it.startswith("decoder.") and weight.ndim == 2
    }
    assert decayed | hidden == {names[id(it)] for it in optim.adamw(model, OptimConfig()).param_groups[0]["params"]}


def test_muon_is_torchs_muon_and_torchs_adamw_on_their_own_weights(
    grids: SyntheticDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step, also after its state went through a checkpoint; in bfloat16, the only one that torch's knows."""
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: True)
    config = OptimConfig(name="muon", lr=1e-2)
    torch.manual_seed(0)
    ours, theirs = (build(MODELS["enc_dec"], grids.spec) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    together = optim.muon(ours, config)
    hidden, *others = optim.muon(theirs, config).param_groups
    apart = [
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
            state = together.state_dict()
            together = optim.muon(ours, config)
            together.load_state_dict(state)
        for model, optimizers in ((ours, [together]), (theirs, apart)):
            compute_loss(model, grids[:8], LossConfig()).loss.backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("shape", [(128, 128), (128, 512), (384, 128), (1, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_of_muon_is_as_long_in_every_direction(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """Singular values between 1 and 1/30 of the largest become about one; singular vectors stay."""
    generator = torch.Generator().manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = torch.logspace(0, -1.5, min(shape))
    found = left.mT @ orthogonalize(7 * left @ values.diag() @ right, dtype).float() @ right.mT
    assert found.diagonal().min() > 0.5
    assert found.diagonal().max() < 1.3
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    assert (found - found.diagonal().diag()).abs().max() < tolerance


@pytest.mark.parametrize(("able", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_muon_multiplies_bfloat16_only_where_the_cpu_has_instructions_for_it(
    able: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: able)
    start = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    weight = start.clone().requires_grad_()
    weight.grad = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))
    Muon([weight], lr=1.0, weight_decay=0.0, momentum=0.0).step()
    assert torch.equal(weight, start.add(orthogonalize(weight.grad, dtype), alpha=-0.8))


@pytest.mark.parametrize("schedule", training.SCHEDULES)
def test_the_rate_warms_up_peaks_and_decays(schedule: str) -> None:
    config = OptimConfig(warmup_steps=10, schedule=schedule, final_lr_ratio=0.1)
    shares = [optim.lr_factor(config, step, 100) for step in range(101)]
    brief = [optim.lr_factor(replace(config, decay_fraction=1), step, 20) for step in range(21)]
    assert brief[10] == 1, "also where the decay would begin within the warm-up"
    assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert shares[10] == max(shares) == 1
    assert all(later <= earlier for earlier, later in pairwise(shares[10:]))
    assert shares[100] == pytest.approx(1 if schedule == "constant" else 0.1)
    if schedule == "wsd":
        assert shares[70] == 1
        assert shares[85] == pytest.approx(0.55)


@pytest.mark.parametrize("optimiser", optim.OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_one_batch_can_be_learnt_by_heart(name: str, optimiser: str, grids: SyntheticDataset) -> None:
    torch.manual_seed(0)
    model, scenes, config = build(MODELS[name], grids.spec), grids[:8], LossConfig(label_smoothing=0)
    optimizer = optim.OPTIMIZERS[optimiser](model, OptimConfig(lr=1e-2))
    for step in range(200):
        for group in optimizer.param_groups:  # without a warm-up post-norm does not learn (Xiong et al. 2020)
            group["lr"] = 1e-2 * min(1, (step + 1) / 20)
        optimizer.zero_grad()
        compute_loss(model, scenes, config).loss.backward()
        optimizer.step()
    readout = model.eval().read(scenes.images)
    assert torch.equal(readout.digits, scenes.digits)
    assert readout.ended.all()
