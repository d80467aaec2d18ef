"""What is timed: each suite measures on this machine, side by side in one process, and names what it measured."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_seq.data.sets import SceneSet

Figures = dict[str, tuple[float, float, float]]
"""What was measured -> least, median, most."""

PRESETS = (
    *("single", "grid", "grid_3x3", "scatter", "scatter_96", "scatter_96_clear", "scatter_8", "line", "overlap"),
    *("multimnist_s4", "cluttered"),
)
_BATCH = 128


def scenes(repeats: int) -> Figures:
    """Scenes rendered a second in batches of 128, by preset and distortion."""
    figures: Figures = {}
    for preset in PRESETS:
        for augment in ("none", "light", "strong"):
            batches = iter(range(10**9))
            drawn = _scenes(preset, augment)
            seconds = _seconds(partial(_render_next, drawn, batches), repeats)
            figures[f"{preset}, {augment}: scenes/s"] = _rate(_BATCH, seconds)
    return figures


def loaders(repeats: int) -> Figures:
    """The same scenes from a per-sample Dataset and a DataLoader with two workers, and ours beside, in turn."""
    from mnist_seq.timing.rivals import loader

    figures: Figures = {}
    for preset in PRESETS:
        for augment in ("none", "light"):
            drawn, batches = _scenes(preset, augment), iter(range(10**9))
            theirs, ours, rounds = [], [], max(3, repeats // 10)
            for _ in range(rounds):
                ready = iter(loader(drawn.config, drawn.pool, 60 * _BATCH, _BATCH, 2, augment != "none"))
                for _ in range(8):  # what the workers made while they started
                    next(ready)
                began = time.perf_counter()
                theirs.append(_BATCH * sum(1 for _ in ready) / (time.perf_counter() - began))
                del ready
                ours.append(_BATCH / median(_seconds(partial(_render_next, drawn, batches), repeats)))
            name = f"{preset}, {augment}"
            figures[f"{name}, DataLoader: scenes/s"] = _spread(theirs)
            figures[f"{name}, ours: scenes/s"] = _spread(ours)
            figures[f"{name}: times as fast"] = _spread([a / b for a, b in zip(ours, theirs, strict=True)])
    return figures


def training(repeats: int) -> Figures:
    """Scenes taught a second by the bare step of the default models, and what rendering adds to it."""
    import mnist_seq
    from mnist_seq.learn import optim
    from mnist_seq.learn.losses import taught

    figures: Figures = {}
    for name, preset in (
        ("enc_dec", "grid"),
        ("classifier", "grid"),
        ("enc_dec", "scatter"),
        ("enc_dec", "scatter_96"),
    ):
        module, _ = mnist_seq.build(f"model={name}", f"data={preset}", "data.digits=uci")
        drawn, batches = _scenes(preset, "light"), iter(range(10**9))
        batch = _render_next(drawn, batches)
        optimizer = optim.adamw(module.model, module.optim_config)

        def step(module: Any = module, batch: Any = batch, optimizer: Any = optimizer) -> None:
            taught(module.model, batch, module.loss_config).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        rendering, teaching = _in_turn(partial(_render_next, drawn, batches), step, repeats)
        figures[f"{name} on {preset}, training step: scenes/s"] = _rate(_BATCH, teaching)
        shares = [100 * draw / learn for draw, learn in zip(rendering, teaching, strict=True)]
        figures[f"{name} on {preset}, rendering (light): % of a step"] = _spread(shares)
    return figures


def reading(repeats: int) -> Figures:
    """Greedy reading of grids: one image, and many."""
    import mnist_seq

    figures: Figures = {}
    for name in ("enc_dec", "classifier"):
        module, _ = mnist_seq.build(f"model={name}", "data=grid", "data.digits=uci")
        model, images = module.model.eval(), _render_next(_scenes("grid", "none"), iter([0])).images
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
    "loaders": loaders,
    "train": training,
    "read": reading,
    "startup": startup,
}


def _scenes(preset: str, augment: str) -> Any:
    import mnist_seq

    return mnist_seq.scenes(preset, f"data/augment={augment}", "data.digits=uci")


def _render_next(drawn: SceneSet, batches: Iterator[int]) -> Any:
    batch = next(batches)
    return drawn[batch * _BATCH : (batch + 1) * _BATCH]


def _seconds(work: Callable[[], Any], repeats: int) -> list[float]:
    """Of each run, after two to warm up."""
    return _in_turn(work, lambda: None, repeats)[0]


def _in_turn(one: Callable[[], Any], other: Callable[[], Any], repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of each run of both, one after the other, after two of each to warm up."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 2):
        for work, seconds in zip((one, other), taken, strict=True):
            since = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - since)
    return taken[0][2:], taken[1][2:]


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)


def _rate(number: int, seconds: list[float]) -> tuple[float, float, float]:
    return _spread([number / second for second in seconds])
