"""How training ends: by a callback, a diverging loss or an error; and what is left behind."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

import mnist_seq
from mnist_seq.errors import DivergedError, UserError
from mnist_seq.inference import weights
from mnist_seq.run_dir import Run
from mnist_seq.training import callbacks, checkpoints, finalize, module
from tests.conftest import TINY

SMALL = (*TINY, "data=single", "report=false")
RARELY = (*SMALL, "trainer.log_every_n_steps=50")
"""Then only saving checks whether the loss is finite."""


def step_of(run: Path) -> int:
    """The step of a run's last checkpoint, which must be finite."""
    checkpoint = weights.load_checkpoint(Run(run).last_checkpoint)
    assert all(bool(torch.isfinite(weight).all()) for weight in checkpoint["state_dict"].values())
    return int(checkpoint["global_step"])


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Any) -> None:
    """Call `act(trainer)` after a step."""

    def acting(self: Any, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == step:
            act(trainer)

    monkeypatch.setattr(callbacks.LogPredictions, "on_train_batch_end", acting, raising=False)


@pytest.fixture
def diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the seventh batch is NaN."""
    batches: list[int] = []
    compute_loss = module.compute_loss

    def diverging(*arguments: Any) -> Any:
        out = compute_loss(*arguments)
        if not torch.is_grad_enabled():
            return out
        batches.append(1)
        return out._replace(loss=out.loss * torch.nan) if len(batches) == 7 else out

    monkeypatch.setattr(module, "compute_loss", diverging)


WITHOUT_VAL = ("data.pool=full", "trainer.val_check_interval=5")
SAVING = {
    "a signal": (),
    "the end": (*WITHOUT_VAL, "trainer.max_steps=7"),
    "validation": (),
    "a callback": (),
    "every few steps": WITHOUT_VAL,
    "accumulation": ("+trainer.accumulate_grad_batches=2", "trainer.val_check_interval=2"),
}


@pytest.mark.usefixtures("diverges")
@pytest.mark.parametrize("saved_by", SAVING)
def test_checkpoint_is_never_saved_after_an_infinite_loss(
    saved_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if saved_by == "a signal":
        at_step(monkeypatch, 8, lambda trainer: signal.raise_signal(signal.SIGTERM))
    if saved_by == "a callback":
        at_step(monkeypatch, 8, lambda trainer: trainer.save_checkpoint(tmp_path / "other.ckpt"))
    with pytest.raises(DivergedError, match=r"NaN or infinite.*last good checkpoint.*last\.ckpt.*optim\.lr"):
        mnist_seq.fit(*RARELY, *SAVING[saved_by], f"hydra.run.dir={tmp_path / 'run'}")
    assert step_of(tmp_path / "run") == (3 if saved_by == "accumulation" else 5)
    assert not (tmp_path / "other.ckpt").exists()


def test_checkpoint_is_never_saved_after_an_infinite_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the last step is finite, but its weights are not."""

    def spoil(self: Any, trainer: L.Trainer, module: L.LightningModule, optimizer: Any) -> None:
        if trainer.global_step == 6:
            next(module.parameters()).grad.fill_(torch.inf)  # type: ignore[union-attr]

    monkeypatch.setattr(callbacks.LogPredictions, "on_before_optimizer_step", spoil, raising=False)
    last = (*WITHOUT_VAL, "trainer.max_steps=7")
    with pytest.raises(DivergedError, match="a weight is NaN or infinite"):
        mnist_seq.fit(*RARELY, *last, f"hydra.run.dir={tmp_path / 'run'}")
    assert step_of(tmp_path / "run") == 5


def contents(run: Run) -> dict[Path, bytes]:
    paths = [
        run.last_checkpoint,
        run.best_checkpoint,
        run.weights,
        run.metrics_csv,
        run.path / "metrics.json",
        run.path / "config.yaml",
    ]
    return {path: path.read_bytes() for path in paths}


@pytest.mark.parametrize(
    "callback",
    [
        ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optim.lr=1e-9"),
        ("callbacks=[reached,ema]", "callbacks.reached.stopping_threshold=0.0", "optim.lr=1e-9"),
    ],
    ids=["early stopping", "score reached"],
)
def test_run_that_stopped_early_resumes_only_with_more_max_steps(callback: tuple[str, ...], tmp_path: Path) -> None:
    run = mnist_seq.fit(*SMALL, "trainer.max_steps=40", *callback, f"hydra.run.dir={tmp_path / 'run'}")
    steps, before = run.metrics["steps"], contents(run)
    assert steps < 40
    for given in ((), ("trainer.max_steps=40",)):
        assert mnist_seq.fit(f"resume={run.path}", *given).metrics["steps"] == steps
        assert contents(run) == before
    with pytest.raises(UserError, match=f"trainer.max_steps=3 is less than the {steps} steps"):
        mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=3")
    assert mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=60").metrics["steps"] > steps


def test_a_run_without_validation_resumes_with_its_own_weights_and_not_with_their_average(tmp_path: Path) -> None:
    averaged = (*SMALL, *WITHOUT_VAL, "callbacks=ema", "optim.schedule=constant", "optim.warmup_steps=0")
    whole = mnist_seq.fit(*averaged, "trainer.max_steps=14", f"hydra.run.dir={tmp_path / 'whole'}")
    half = mnist_seq.fit(*averaged, "trainer.max_steps=7", f"hydra.run.dir={tmp_path / 'halves'}")
    resumed = mnist_seq.fit(f"resume={half.path}", "trainer.max_steps=14")
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()


def test_a_run_killed_while_its_final_weights_are_evaluated_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its metrics must not be those of other weights: it has none until it is resumed."""
    run = mnist_seq.fit(*SMALL, "trainer.max_steps=10", "test=true", f"hydra.run.dir={tmp_path / 'run'}")
    assert run.finished
    with monkeypatch.context() as patch:
        patch.setattr(finalize, "evaluate_model", lambda *_, **__: crash(None))
        with pytest.raises(RuntimeError, match="crash"):
            mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=20")
    assert not run.finished
    assert run.metrics.keys().isdisjoint({"val", "test"})
    assert {"val", "test"} <= mnist_seq.fit(f"resume={run.path}").metrics.keys()
    assert run.finished


def test_the_best_checkpoint_is_right_after_a_kill_between_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mnist_seq.fit(*SMALL, "trainer.max_steps=15", f"hydra.run.dir={tmp_path / 'whole'}")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "copyfile", lambda *_: crash(None))
        with pytest.raises(RuntimeError, match="crash"):
            mnist_seq.fit(*SMALL, "trainer.max_steps=15", f"hydra.run.dir={tmp_path / 'killed'}")
    killed = Run(tmp_path / "killed")
    killed.best_checkpoint.replace(killed.last_checkpoint)  # as after a first validation that was saved
    resumed = mnist_seq.fit(f"resume={killed.path}")
    best = [weights.load_checkpoint(run.best_checkpoint) for run in (whole, resumed)]
    assert best[0]["global_step"] == best[1]["global_step"]


@pytest.mark.parametrize(
    ("stopped_within", "max_steps", "stops"),
    [
        (60, 60, True),
        (60, 40, True),
        (60, 61, False),
        (60, -1, False),
        (-1, -1, True),
        (-1, 10, True),
        (-1, 20, False),
        (None, 60, False),
    ],
)
def test_stopped_run_continues_only_with_more_steps(stopped_within: int | None, max_steps: int, stops: bool) -> None:
    """Stopped at step 10; -1 means without a limit, as with a time limit."""
    trainer: Any = SimpleNamespace(should_stop=False, max_steps=max_steps)
    saved = {"global_step": 10, "callbacks": {"ResumableCheckpoint": {"stopped_within": stopped_within}}}
    checkpoints.ResumableCheckpoint(Run("gone")).on_load_checkpoint(trainer, None, saved)  # type: ignore[arg-type]
    assert trainer.should_stop == stops


def receive(signum: int, frame: Any) -> None:
    """A handler of the user."""


def crash(trainer: L.Trainer | None) -> None:
    raise RuntimeError("crash")


def interrupt_twice(trainer: L.Trainer) -> None:
    for _ in range(2):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("act", [None, crash, interrupt_twice])
def test_global_state_is_restored_however_training_ends(
    act: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signal handlers and torch settings: the next run of a sweep, or a notebook, is not affected."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    original = {it: signal.signal(it, receive) for it in signals}
    settings = ("trainer.max_steps=3", "+trainer.deterministic=true", "+trainer.benchmark=true")
    try:
        if act:
            at_step(monkeypatch, 2, act)
        with pytest.raises((RuntimeError, KeyboardInterrupt)) if act else nullcontext():
            mnist_seq.fit(*SMALL, *settings, f"hydra.run.dir={tmp_path / 'run'}")
        assert {it: signal.getsignal(it) for it in signals} == dict.fromkeys(signals, receive)
    finally:
        for signum, handler in original.items():
            signal.signal(signum, handler)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert torch.is_grad_enabled()
