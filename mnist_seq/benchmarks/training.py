"""Suites train_step and train_loop: training throughput, against other libraries' models and the matmul roofline."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from mnist_seq.benchmarks import baseline_models, roofline
from mnist_seq.benchmarks.rendering import renderer
from mnist_seq.benchmarks.timer import Measurement, Workload, ratio, speedups, summarize, throughput, time_interleaved
from mnist_seq.compose_config import compose_training
from mnist_seq.config import BenchConfig, TrainerConfig
from mnist_seq.nn.losses import compute_loss
from mnist_seq.training import hardware
from mnist_seq.training.build import build_module_and_data
from mnist_seq.training.fit import fit
from mnist_seq.training.torch_settings import matmul_precision

if TYPE_CHECKING:
    from mnist_seq.data.render import SceneBatch
    from mnist_seq.run_dir import Run
    from mnist_seq.training.module import ReaderModule

LOG_EVERY_N_STEPS = 20
"""Steps between two logged throughputs of a run."""
_MAX_GRAD_NORM = 1.0
"""Gradient clipping threshold, as in our trainer presets."""


class _LoopPreset(NamedTuple):
    """Scenes whose rendering is compared with a training step."""

    augment: str
    """Preset of `data/augment`."""
    model: tuple[str, ...] = ()
    """Overrides of the default model."""


_LOOP_PRESETS = {
    "grid": _LoopPreset("light"),
    "scatter_96": _LoopPreset("light"),
    "line": _LoopPreset("hand", ("model.stem=conv", "model.patch_size=16")),
}
"""By data preset; scenes of `line` are corrupted like photographs too, and its model is that of its recipe."""


class Precision(NamedTuple):
    """Arithmetic of a training step."""

    matmul: str
    """Precision of float32 matrix products, as torch.set_float32_matmul_precision names it."""
    autocast: bool = False
    """Whether the forward pass runs in bfloat16."""

    @property
    def name(self) -> str:
        return "bf16" if self.autocast else self.matmul

    def matmul_context(self, device: str) -> AbstractContextManager[None]:
        """Context for a whole step: the matmul precision."""
        return matmul_precision(TrainerConfig(accelerator=device, matmul_precision=self.matmul))


def available_precisions(device: str) -> list[Precision]:
    """The default precision of torch, and others that the device is fast in; the last is that of our trainer preset."""
    precisions = [Precision("highest")]
    if device == "cuda":
        precisions.append(Precision("high", autocast=True))
    elif device == "cpu" and hardware.supports_fast_bf16():
        precisions += [Precision("medium"), Precision("highest", autocast=True)]
    return precisions


def train_step(config: BenchConfig) -> list[Measurement]:
    """A bare training step on grids: ours, other libraries' models of the same size, and the matmul roofline."""
    measurements = []
    batch = renderer("grid", "light", config)()
    for precision in available_precisions(config.device):
        module = build_module("enc_dec", "grid", config)
        loss_fn = partial(_loss, module, batch)
        workloads = {"ours": make_step(module.model, loss_fn, precision, config.device)}
        for name, baseline in baseline_models.build_baselines(module.model, config.device).items():
            baseline_loss_fn = partial(baseline.loss, batch, module.loss_config.label_smoothing)
            workloads[name] = make_step(baseline.model, baseline_loss_fn, precision, config.device)
        matmuls = roofline.linear_matmuls(module.model, loss_fn)
        dtype = torch.bfloat16 if precision.autocast else torch.float32
        workloads["roofline"] = roofline.matmul_workload(matmuls, config.device, dtype)
        with precision.matmul_context(config.device):  # steps set it themselves, the roofline does not
            seconds = time_interleaved(workloads, config.repeats)
        roofline_seconds, label = seconds.pop("roofline"), precision.name
        gigaflops = sum(matmul.flops for matmul in matmuls) / 1e9
        measurements += [
            *(throughput(f"{label}, {name}", config.batch_size, rounds) for name, rounds in seconds.items()),
            *speedups(label, seconds),
            summarize(f"{label}, linear matmuls only", "GFLOP/s", (gigaflops / it for it in roofline_seconds)),
            ratio(f"{label}, ours, share of the matmul roofline", roofline_seconds, seconds["ours"], "%"),
        ]
    return measurements


def train_loop(config: BenchConfig, num_rounds: int = 3) -> list[Measurement]:
    """Whole runs with Lightning, rendering and logging, beside the bare step; without validation."""
    measurements, steps = [], {}
    for preset, loop in _LOOP_PRESETS.items():
        module = build_module("enc_dec", preset, config, *loop.model)
        steps[preset] = make_default_step(module, preset, loop.augment, config)
        workloads = {"render": renderer(preset, loop.augment, config), "step": steps[preset]}
        seconds = time_interleaved(workloads, config.repeats)
        measurements.append(throughput(f"{preset}, bare step", config.batch_size, seconds["step"]))
        measurements.append(ratio(f"{preset}, rendering, share of a step", seconds["render"], seconds["step"], "%"))
    step_seconds, run_seconds = [], []
    for _ in range(num_rounds):
        step_seconds.append(median(time_interleaved({"step": steps["grid"]}, LOG_EVERY_N_STEPS)["step"]))
        run_seconds.append(config.batch_size / _train_throughput(config))
    measurements.append(throughput("grid, whole run", config.batch_size, run_seconds))
    measurements.append(ratio("grid, whole run, share of the bare step's throughput", step_seconds, run_seconds, "%"))
    return measurements


def build_module(model: str, data: str, config: BenchConfig, *overrides: str) -> ReaderModule:
    """Build the LightningModule of a run and move it to the device."""
    config_of_run = compose_training([f"model={model}", f"data={data}", "data.digits=uci", *overrides])
    module, _ = build_module_and_data(config_of_run)
    return module.to(config.device)


def make_step(model: nn.Module, loss_fn: Callable[[], Tensor], precision: Precision, device: str) -> Workload:
    """A workload that takes a training step: loss, gradients, clipping, AdamW.

    Args:
        model: its parameters are trained.
        loss_fn: runs the forward pass and returns the loss, a scalar.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        with precision.matmul_context(device):
            with torch.autocast(device, torch.bfloat16, enabled=precision.autocast):
                loss = loss_fn()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRAD_NORM)
            optimizer.step()
            optimizer.zero_grad()

    return step


def make_default_step(module: ReaderModule, data: str, augment: str, config: BenchConfig) -> Workload:
    """A workload that trains the module on scenes of a data preset, in the precision of our trainer preset."""
    loss_fn = partial(_loss, module, renderer(data, augment, config)())
    return make_step(module.model, loss_fn, available_precisions(config.device)[-1], config.device)


def _loss(module: ReaderModule, batch: SceneBatch) -> Tensor:
    return compute_loss(module.model, batch, module.loss_config).loss


def _train_throughput(config: BenchConfig) -> float:
    """Median throughput of a whole run on grids, scenes/s."""
    overrides = grid_overrides(config, hardware.DEVICE_PRESETS[config.device], LOG_EVERY_N_STEPS)
    overrides.append(f"trainer.threads={torch.get_num_threads()}")  # as many as the bare step has
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        return median_throughput(fit([*overrides, f"hydra.run.dir={folder}/run"]))


def grid_overrides(config: BenchConfig, trainer: str, log_every_n_steps: int) -> list[str]:
    """Overrides of a run on grids that logs its throughput six times."""
    num_steps = 6 * log_every_n_steps
    overrides = ["data=grid", "data.digits=uci", f"data.batch_size={config.batch_size}", "data.val_scenes=100"]
    overrides += [f"trainer={trainer}", f"trainer.log_every_n_steps={log_every_n_steps}"]
    return [*overrides, f"trainer.max_steps={num_steps}", f"trainer.val_check_interval={num_steps}"]


def median_throughput(run: Run) -> float:
    """Median of the throughputs that a run has logged, scenes/s."""
    speeds = [row["train/scenes_per_second"] for row in run.logged_metrics if "train/scenes_per_second" in row]
    return median(speeds[1:])  # the first includes warm-up
