"""The exponential moving average of the weights, on a weight that is k after step k."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import mnist_seq
from mnist_seq.errors import UserError
from mnist_seq.training.weight_averaging import EMAWeightAveraging
from tests.conftest import TINY


class CountingModule(L.LightningModule):
    """One weight, which starts at 0 and grows by 1 per step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return -self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def averaged_weight(steps: int, tmp_path: Path, **settings: Any) -> float:
    """The averaged weight after training."""
    average, module = EMAWeightAveraging(**settings), CountingModule()
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = L.Trainer(
        max_steps=steps, callbacks=[average], accelerator="cpu", logger=False, default_root_dir=tmp_path, **quiet
    )
    trainer.fit(module, torch.utils.data.DataLoader(range(steps)))  # type: ignore[arg-type]
    return module.weight.item()


@pytest.mark.parametrize(("steps", "decay"), [(1, 0.998), (2, 0.998), (40, 0.998), (40, 0.5), (40, 0.0)])
def test_average_after_t_updates_equals_the_closed_form(steps: int, decay: float, tmp_path: Path) -> None:
    decays = [0.0, *(min(decay, (1 + t) / (10 + t)) for t in range(1, steps))]
    expected = sum((1 - decays[t]) * (t + 1) * prod(decays[t + 1 :]) for t in range(steps))
    assert averaged_weight(steps, tmp_path, decay=decay) == pytest.approx(expected, rel=1e-5)


def test_average_of_a_short_run_is_close_to_its_last_weights(tmp_path: Path) -> None:
    """A constant decay of 0.998 would keep 82 % of the initial weights."""
    assert 85 < averaged_weight(100, tmp_path, decay=0.998) < 100


def test_average_before_its_first_step_is_a_copy_of_the_weights(tmp_path: Path) -> None:
    assert averaged_weight(20, tmp_path, update_starting_at_step=19) == 20
    assert averaged_weight(20, tmp_path, update_starting_at_step=18) == pytest.approx(2 / 11 * 19 + 9 / 11 * 20)
    assert averaged_weight(21, tmp_path, update_starting_at_step=20, update_every_n_steps=5) == 21
    assert averaged_weight(20, tmp_path, update_starting_at_step=11, update_every_n_steps=5) == 16


@pytest.mark.parametrize("name", ["update_starting_at_step", "update_every_n_steps"])
def test_average_that_training_never_reaches_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{name}=12 of the weight average is not reached within 12 steps"):
        averaged_weight(12, tmp_path, **{name: 12})


def test_average_beside_weights_of_another_precision_is_refused(tmp_path: Path) -> None:
    overrides = (*TINY, "data=single", "callbacks=ema", "trainer.precision=bf16-true", "trainer.max_steps=3")
    with pytest.raises(UserError, match="trainer.precision=bf16-true does not work with a weight average"):
        mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'run'}")


@pytest.mark.parametrize("settings", [{"update_every_n_steps": 0}, {"decay": 1.0}, {"decay": -0.1}], ids=str)
def test_invalid_decay_or_interval_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="must be at least"):
        EMAWeightAveraging(**settings)
