"""Teaching and reading: ours, beside other libraries' models of the same size, and beside the machine's own limit."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from mnist_seq import extras
from mnist_seq.benchmarks import baseline_models, roofline
from mnist_seq.benchmarks.rendering import renderer
from mnist_seq.benchmarks.timer import Measurement, Workload, ratio, summarize, throughput, time_interleaved
from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import BenchConfig, TrainConfig, TrainerConfig
from mnist_seq.nn.losses import compute_loss
from mnist_seq.training import hardware
from mnist_seq.training.fit import build_module_and_data, fit
from mnist_seq.training.torch_settings import matmul_precision

if TYPE_CHECKING:
    from mnist_seq.data.render import SceneBatch
    from mnist_seq.training.module import ReaderModule

_LARGE_BATCH = 64
"""Images that are read at once."""
_READS_PER_TURN = 10
"""Single images that one reader reads before the next one's turn, which finds the caches full of others' weights."""
LOG_EVERY_N_STEPS = 20
"""Between two figures of a run's speed."""
_MAX_GRAD_NORM = 1.0
"""Largest norm of a gradient, as in our trainer presets."""


class Precision(NamedTuple):
    """Of the arithmetic of a training step."""

    matmul: str
    """Of float32 matrices, as torch names it."""
    autocast: bool = False
    """The forward pass multiplies in bfloat16."""

    @property
    def name(self) -> str:
        return "bf16" if self.autocast else self.matmul

    def matmul_context(self, device: str) -> AbstractContextManager[None]:
        """Within: for everything that is computed."""
        return matmul_precision(TrainerConfig(accelerator=device, matmul_precision=self.matmul))

    def autocast_context(self, device: str) -> AbstractContextManager[Any]:
        """Within: for a forward pass."""
        return torch.autocast(device, torch.bfloat16, enabled=self.autocast)


def available_precisions(device: str) -> list[Precision]:
    """The one that libraries have unasked, and last that of our trainer preset."""
    known = [Precision("highest")]
    if device == "cuda":
        known.append(Precision("high", autocast=True))
    elif device == "cpu" and hardware.supports_fast_bf16():
        known.append(Precision("medium"))
    return known


def train_step(config: BenchConfig) -> list[Measurement]:
    """Grids taught a second by a bare step: ours, other libraries' models of the same size, and the limit."""
    figures = []
    batch = renderer("grid", "light", config)()
    for precision in available_precisions(config.device):
        module = build_module("enc_dec", "grid", config)
        teach = partial(_loss, module, batch)
        works = {"ours": make_step(module.model, teach, precision, config.device)}
        for who, peer in _build_baselines(module, config).items():
            loss = partial(peer.loss, batch, module.loss_config.label_smoothing)
            works[who] = make_step(peer.model, loss, precision, config.device)
        needed = roofline.linear_matmuls(module.model, teach)
        dtype = torch.bfloat16 if precision.autocast else torch.float32
        with precision.matmul_context(config.device):  # a step sees to it by itself, the products alone do not
            taken = time_interleaved(
                works | {"products": roofline.matmul_workload(needed, config.device, dtype)}, config.repeats
            )
        ours, products = taken["ours"], taken.pop("products")
        name = precision.name
        figures += [throughput(f"{name}, {who}", config.batch_size, seconds) for who, seconds in taken.items()]
        figures += _speedups(name, taken)
        gigaflops = sum(product.flops for product in needed) / 1e9
        figures.append(summarize(f"{name}, matrix products alone", "GFLOP/s", (gigaflops / it for it in products)))
        figures.append(ratio(f"{name}, ours, of that rate", products, ours, "%"))
    return figures


def train_loop(config: BenchConfig, num_rounds: int = 3) -> list[Measurement]:
    """Whole runs, with Lightning, rendering and logging, beside the bare step; validation apart."""
    figures, bare, whole = [], [], []
    modules = {preset: build_module("enc_dec", preset, config) for preset in ("grid", "scatter_96")}
    steps = {preset: make_default_step(module, preset, config) for preset, module in modules.items()}
    for preset, teach in steps.items():
        taken = time_interleaved({"render": renderer(preset, "light", config), "step": teach}, config.repeats)
        figures.append(throughput(f"{preset}, bare step", config.batch_size, taken["step"]))
        figures.append(ratio(f"{preset}, rendering, of a step", taken["render"], taken["step"], "%"))
    for _ in range(num_rounds):
        bare.append(median(time_interleaved({"step": steps["grid"]}, LOG_EVERY_N_STEPS)["step"]))
        whole.append(config.batch_size / _train_throughput(config))
    figures.append(throughput("grid, whole run", config.batch_size, whole))
    figures.append(ratio("grid, whole run, of the bare step's speed", bare, whole, "%"))
    return figures


def inference(config: BenchConfig) -> list[Measurement]:
    """Grids read greedily, one at a time and many at once."""
    figures = []
    images = renderer("grid", "none", config)().images
    for name in ("enc_dec", "classifier"):
        module = build_module(name, "grid", config)
        readers: dict[str, Callable[[Tensor], Any]] = {"ours": torch.inference_mode()(module.model.eval().read)}
        if name == "enc_dec":
            readers |= {who: peer.inference_fn() for who, peer in _build_baselines(module, config).items()}
            readers |= _onnx_reader(module) if config.device == "cpu" else {}
        for some, row in ((images[:1], _READS_PER_TURN), (images[:_LARGE_BATCH], 1)):
            works = {who: partial(_read_repeatedly, read, some, row) for who, read in readers.items()}
            taken = {who: [it / row for it in each] for who, each in time_interleaved(works, config.repeats).items()}
            what = f"{name}, {len(some)} at once"
            figures += [summarize(f"{what}, {who}", "ms", (1000 * it for it in taken[who])) for who in readers]
            figures += _speedups(what, taken)
    return figures


def build_module(model: str, data: str, config: BenchConfig, *overrides: str) -> ReaderModule:
    """The module of a run, on the device."""
    composed = compose("train", [f"model={model}", f"data={data}", "data.digits=uci", *overrides])
    module, _ = build_module_and_data(to_dataclass(composed.config, TrainConfig))
    return module.to(config.device)


def make_step(model: nn.Module, compute_loss: Callable[[], Tensor], precision: Precision, device: str) -> Workload:
    """A training step as a plain loop has it: loss, gradients, clipping, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def taken() -> None:
        with precision.matmul_context(device):
            with precision.autocast_context(device):
                found = compute_loss()
            found.backward()
            nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRAD_NORM)
            optimizer.step()
            optimizer.zero_grad()

    return taken


def make_default_step(module: ReaderModule, data: str, config: BenchConfig) -> Workload:
    """Taught by scenes of a data preset, in the precision of our trainer preset."""
    batch = renderer(data, "light", config)()
    return make_step(
        module.model, partial(_loss, module, batch), available_precisions(config.device)[-1], config.device
    )


def _loss(module: ReaderModule, batch: SceneBatch) -> Tensor:
    return compute_loss(module.model, batch, module.loss_config).loss


def _train_throughput(config: BenchConfig) -> float:
    """Of a whole run on grids, once it is under way."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        overrides = ["data=grid", "data.digits=uci", f"data.batch_size={config.batch_size}", "data.val_scenes=100"]
        overrides += [
            f"trainer={hardware.DEVICE_PRESETS[config.device]}",
            f"trainer.log_every_n_steps={LOG_EVERY_N_STEPS}",
        ]
        overrides += [
            f"trainer.max_steps={6 * LOG_EVERY_N_STEPS}",
            f"trainer.val_check_interval={6 * LOG_EVERY_N_STEPS}",
        ]
        composed = compose("train", overrides)
        run = fit(to_dataclass(composed.config, TrainConfig), Path(folder, "run"), False, overrides)
        rows = run.logged_metrics
    speeds = [row["train/scenes_per_second"] for row in rows if "train/scenes_per_second" in row]
    return median(speeds[1:])  # the first holds what is done once


def _build_baselines(module: ReaderModule, config: BenchConfig) -> dict[str, baseline_models.BaselineModel]:
    """Of the same size as ours, on the device; those that are installed."""
    ours: Any = module.model
    absent = baseline_models.missing_baselines()
    built = {
        who: make(ours.config, ours.spec)
        for who, (_, make) in baseline_models.BASELINE_MODELS.items()
        if who not in absent
    }
    for peer in built.values():
        peer.model.to(config.device)
    return built


def _read_repeatedly(read: Callable[[Tensor], Any], images: Tensor, times: int) -> None:
    for _ in range(times):
        read(images)


def _onnx_reader(module: ReaderModule) -> dict[str, Callable[[Tensor], Any]]:
    """Ours as an ONNX graph, where ONNX Runtime is installed; of one image, a second thread costs more than it does."""
    from mnist_seq.inference import onnx_export

    if extras.missing_package("onnx"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        onnx_export.export_onnx(module.model, Path(folder, "reader.onnx"), {})
        session = onnx_export.create_session(Path(folder, "reader.onnx"), num_threads=1)
    return {"ours in ONNX Runtime, 1 thread": lambda images: session.run(None, {"images": images.numpy()})}


def _speedups(name: str, timings: dict[str, list[float]]) -> list[Measurement]:
    return [
        ratio(f"{name}, as fast as {who}", seconds, timings["ours"])
        for who, seconds in timings.items()
        if who != "ours"
    ]
