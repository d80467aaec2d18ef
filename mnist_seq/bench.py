"""Time what matters: `python -m mnist_seq.bench suite=scenes,train,read,startup to=bench.json`."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mnist_seq import command
from mnist_seq.config import BenchConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mnist_seq.data.scenes import SceneSet

Figures = dict[str, tuple[float, float, float]]
"""What was measured -> least, median, most."""


def main() -> None:
    command.run("bench", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    import torch
    from rich.console import Console
    from rich.table import Table

    from mnist_seq.run import revision, versions

    config = command.typed(cfg, BenchConfig)
    chosen = SUITES if config.suite == "all" else {name: SUITES[name] for name in config.suite.split(",")}
    measured: Figures = {}
    for suite in chosen.values():
        measured |= suite(config.repeats)
    table = Table(title=f"medians of {config.repeats}", title_justify="left")
    for column in ("", "least", "median", "most"):
        table.add_column(column, justify="left" if not column else "right")
    for name, figures in measured.items():
        table.add_row(name, *(f"{figure:,.2f}" if figure < 100 else f"{figure:,.0f}" for figure in figures))
    Console().print(table)
    machine = {"machine": platform.machine(), "system": platform.platform(), "threads": torch.get_num_threads()}
    if config.to:
        facts = {"figures": measured, **machine, "versions": versions(), "revision": revision()}
        Path(config.to).write_text(json.dumps(facts, indent=2) + "\n")


def scenes(repeats: int) -> Figures:
    """Scenes rendered a second, in batches of 128, by family and distortion."""
    figures: Figures = {}
    for family in ("single", "grid"):
        for augment in ("none", "light"):
            batches = iter(range(10**9))
            drawn = _scenes(f"data={family}", f"data/augment={augment}")
            seconds = _seconds(partial(_render_next, drawn, batches), repeats)
            figures[f"{family}, {augment}: scenes/s"] = _rate(128, seconds)
    return figures


def training(repeats: int) -> Figures:
    """Scenes taught a second by the bare step of the default models on grids: forward, backward, AdamW."""
    import mnist_seq
    from mnist_seq.learn import optim
    from mnist_seq.learn.losses import LOSSES

    figures: Figures = {}
    for name in ("enc_dec", "classifier"):
        module, _ = mnist_seq.build(f"model={name}", "data=grid", "data.digits=uci")
        batch = _render(_scenes("data=grid"), 0)
        optimizer = optim.adamw(module.model, module.optim_config)

        def step(model: Any = module.model, batch: Any = batch, optimizer: Any = optimizer) -> None:
            LOSSES[model.config.name](model, batch, 0.05).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        figures[f"{name} on grid, training step: scenes/s"] = _rate(128, _seconds(step, repeats))
    return figures


def reading(repeats: int) -> Figures:
    """Greedy reading of grids: one image, and many."""
    import mnist_seq

    figures: Figures = {}
    for name in ("enc_dec", "classifier"):
        module, _ = mnist_seq.build(f"model={name}", "data=grid", "data.digits=uci")
        model, images = module.model.eval(), _render(_scenes("data=grid"), 0).images
        one = _seconds(partial(model.read, images[:1]), repeats)
        many = _seconds(partial(model.read, images[:64]), repeats)
        figures[f"{name}, one image: ms"] = _spread([1000 * second for second in one])
        figures[f"{name}, batch of 64: scenes/s"] = _rate(64, many)
    return figures


def startup(repeats: int) -> Figures:
    """Whole processes: what a user waits for before anything happens."""
    commands = {"import mnist_seq": ["-c", "import mnist_seq"], "train --help": ["-m", "mnist_seq.train", "--help"]}
    commands["train --cfg job"] = ["-m", "mnist_seq.train", "--cfg", "job"]

    def whole(arguments: list[str]) -> None:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    bare = median(_seconds(partial(whole, ["-c", ""]), repeats))
    figures = {
        f"{name}: s": _spread(_seconds(partial(whole, given), min(repeats, 7))) for name, given in commands.items()
    }
    return {"python alone: s": (bare, bare, bare), **figures}


SUITES: dict[str, Callable[[int], Figures]] = {
    "scenes": scenes,
    "train": training,
    "read": reading,
    "startup": startup,
}


def _scenes(*overrides: str) -> SceneSet:
    import mnist_seq

    data, *others = overrides
    return mnist_seq.scenes(data.removeprefix("data="), *others, "data.digits=uci")


def _render(drawn: SceneSet, batch: int) -> Any:
    return drawn[batch * 128 : batch * 128 + 128]


def _render_next(drawn: SceneSet, batches: Iterator[int]) -> Any:
    return _render(drawn, next(batches))


def _seconds(work: Callable[[], Any], repeats: int) -> list[float]:
    """Of each run, after two to warm up."""
    taken = []
    for _ in range(repeats + 2):
        since = time.perf_counter()
        work()
        taken.append(time.perf_counter() - since)
    return taken[2:]


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)


def _rate(number: int, seconds: list[float]) -> tuple[float, float, float]:
    return _spread([number / second for second in seconds])


if __name__ == "__main__":
    main()
