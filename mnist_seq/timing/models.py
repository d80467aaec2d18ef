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
from mnist_seq.config import BenchConfig, TrainerConfig
from mnist_seq.learn import machine
from mnist_seq.learn.losses import taught
from mnist_seq.timing import limits, peers
from mnist_seq.timing.clock import Figure, Work, in_turn, rate, ratio, spread
from mnist_seq.timing.scenery import renderer

if TYPE_CHECKING:
    from mnist_seq.data.scenes import Scenes
    from mnist_seq.learn.modules import ReaderModule

_MANY = 64
"""Images that are read at once."""
_ROW = 10
"""Single images that one reader reads before the next one's turn, which finds the caches full of others' weights."""
STEPS = 20
"""Between two figures of a run's speed."""
_CLIP = 1.0
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

    def products(self, device: str) -> AbstractContextManager[None]:
        """Within: for everything that is computed."""
        return machine.matmul_precision(TrainerConfig(accelerator=device, matmul_precision=self.matmul))

    def forward(self, device: str) -> AbstractContextManager[Any]:
        """Within: for a forward pass."""
        return torch.autocast(device, torch.bfloat16, enabled=self.autocast)


def precisions(device: str) -> list[Precision]:
    """The one that libraries have unasked, and last that of our trainer preset."""
    known = [Precision("highest")]
    if device == "cuda":
        known.append(Precision("high", autocast=True))
    elif device == "cpu" and machine.multiplies_bf16():
        known.append(Precision("medium"))
    return known


def training(config: BenchConfig) -> list[Figure]:
    """Grids taught a second by a bare step: ours, other libraries' models of the same size, and the limit."""
    figures = []
    batch = renderer("grid", "light", config)()
    for precision in precisions(config.device):
        module = build("enc_dec", "grid", config)
        teach = partial(_loss, module, batch)
        works = {"ours": step(module.model, teach, precision, config.device)}
        for who, peer in _peers(module, config).items():
            loss = partial(peer.loss, batch, module.loss_config.label_smoothing)
            works[who] = step(peer.model, loss, precision, config.device)
        needed = limits.products(module.model, teach)
        dtype = torch.bfloat16 if precision.autocast else torch.float32
        with precision.products(config.device):  # a step sees to it by itself, the products alone do not
            taken = in_turn(works | {"products": limits.alone(needed, config.device, dtype)}, config.repeats)
        ours, products = taken["ours"], taken.pop("products")
        name = precision.name
        figures += [rate(f"{name}, {who}", config.batch_size, seconds) for who, seconds in taken.items()]
        figures += _beside(name, taken)
        gigaflops = sum(product.flops for product in needed) / 1e9
        figures.append(spread(f"{name}, matrix products alone", "GFLOP/s", (gigaflops / it for it in products)))
        figures.append(ratio(f"{name}, ours, of that rate", products, ours, "%"))
    return figures


def loop(config: BenchConfig, rounds: int = 3) -> list[Figure]:
    """Whole runs, with Lightning, rendering and logging, beside the bare step; validation apart."""
    figures, bare, whole = [], [], []
    modules = {preset: build("enc_dec", preset, config) for preset in ("grid", "scatter_96")}
    steps = {preset: default_step(module, preset, config) for preset, module in modules.items()}
    for preset, teach in steps.items():
        taken = in_turn({"render": renderer(preset, "light", config), "step": teach}, config.repeats)
        figures.append(rate(f"{preset}, bare step", config.batch_size, taken["step"]))
        figures.append(ratio(f"{preset}, rendering, of a step", taken["render"], taken["step"], "%"))
    for _ in range(rounds):
        bare.append(median(in_turn({"step": steps["grid"]}, STEPS)["step"]))
        whole.append(config.batch_size / _scenes_per_second(config))
    figures.append(rate("grid, whole run", config.batch_size, whole))
    figures.append(ratio("grid, whole run, of the bare step's speed", bare, whole, "%"))
    return figures


def reading(config: BenchConfig) -> list[Figure]:
    """Grids read greedily, one at a time and many at once."""
    figures = []
    images = renderer("grid", "none", config)().images
    for name in ("enc_dec", "classifier"):
        module = build(name, "grid", config)
        readers: dict[str, Callable[[Tensor], Any]] = {"ours": torch.inference_mode()(module.model.eval().read)}
        if name == "enc_dec":
            readers |= {who: peer.reader() for who, peer in _peers(module, config).items()}
            readers |= _graph(module) if config.device == "cpu" else {}
        for some, row in ((images[:1], _ROW), (images[:_MANY], 1)):
            works = {who: partial(_in_a_row, read, some, row) for who, read in readers.items()}
            taken = {who: [it / row for it in each] for who, each in in_turn(works, config.repeats).items()}
            what = f"{name}, {len(some)} at once"
            figures += [spread(f"{what}, {who}", "ms", (1000 * it for it in taken[who])) for who in readers]
            figures += _beside(what, taken)
    return figures


def build(name: str, preset: str, config: BenchConfig, *overrides: str) -> ReaderModule:
    """The module of a run, on the device."""
    import mnist_seq

    module, _ = mnist_seq.build(f"model={name}", f"data={preset}", "data.digits=uci", *overrides)
    return module.to(config.device)


def step(model: nn.Module, loss: Callable[[], Tensor], precision: Precision, device: str) -> Work:
    """A training step as a plain loop has it: loss, gradients, clipping, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def taken() -> None:
        with precision.products(device):
            with precision.forward(device):
                found = loss()
            found.backward()
            nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
            optimizer.step()
            optimizer.zero_grad()

    return taken


def default_step(module: ReaderModule, preset: str, config: BenchConfig) -> Work:
    """Taught by scenes of a data preset, in the precision of our trainer preset."""
    batch = renderer(preset, "light", config)()
    return step(module.model, partial(_loss, module, batch), precisions(config.device)[-1], config.device)


def _loss(module: ReaderModule, batch: Scenes) -> Tensor:
    return taught(module.model, batch, module.loss_config).loss


def _scenes_per_second(config: BenchConfig) -> float:
    """Of a whole run on grids, once it is under way."""
    import mnist_seq

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        overrides = ["data=grid", "data.digits=uci", f"data.batch_size={config.batch_size}", "data.val_scenes=100"]
        overrides += [f"trainer={machine.PRESETS[config.device]}", f"trainer.log_every_n_steps={STEPS}"]
        overrides += [f"trainer.max_steps={6 * STEPS}", f"trainer.val_check_interval={6 * STEPS}"]
        run = mnist_seq.fit(*overrides, f"hydra.run.dir={folder}/run")
        rows = run.rows
    speeds = [row["train/scenes_per_second"] for row in rows if "train/scenes_per_second" in row]
    return median(speeds[1:])  # the first holds what is done once


def _peers(module: ReaderModule, config: BenchConfig) -> dict[str, peers.Peer]:
    """Of the same size as ours, on the device; those that are installed."""
    ours: Any = module.model
    absent = peers.absent()
    built = {who: make(ours.config, ours.spec) for who, (_, make) in peers.PEERS.items() if who not in absent}
    for peer in built.values():
        peer.model.to(config.device)
    return built


def _in_a_row(read: Callable[[Tensor], Any], images: Tensor, times: int) -> None:
    for _ in range(times):
        read(images)


def _graph(module: ReaderModule) -> dict[str, Callable[[Tensor], Any]]:
    """Ours as an ONNX graph, where ONNX Runtime is installed; of one image, a second thread costs more than it does."""
    from mnist_seq.use import onnx

    if extras.missing("onnx"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        onnx.write(module.model, Path(folder, "reader.onnx"), {})
        session = onnx.session(Path(folder, "reader.onnx"), threads=1)
    return {"ours in ONNX Runtime, 1 thread": lambda images: session.run(None, {"images": images.numpy()})}


def _beside(what: str, taken: dict[str, list[float]]) -> list[Figure]:
    return [
        ratio(f"{what}, as fast as {who}", seconds, taken["ours"]) for who, seconds in taken.items() if who != "ours"
    ]
