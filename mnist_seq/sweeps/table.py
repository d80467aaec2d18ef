"""What a sweep came to: a table over seeds, and all figures in sweep.csv."""

from __future__ import annotations

import csv
from math import isnan, nan
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from hydra.experimental.callback import Callback
from hydra.types import RunMode

from mnist_seq.command_line import pasted
from mnist_seq.run import FAILURE, Run, whole

FIGURES = ("exact_match", "multiset_match", "digit_accuracy", "count_accuracy", "loss")
"""Of val, in sweep.csv; losses of different names do not compare."""


class Member(NamedTuple):
    """A finished run of a sweep."""

    path: Path
    choices: dict[str, str]
    """Its overrides, the seed's apart."""
    seed: int
    figures: dict[str, float]


class SweepTable(Callback):
    """Sums up a multirun: in sweep.csv after every job, as a table when it has ended; exit code 1 where jobs failed."""

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN and (found := members(under(Path(config.hydra.sweep.dir)))):
            write(found, Path(config.hydra.sweep.dir) / "sweep.csv")

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        from rich.console import Console
        from rich.markup import escape

        from mnist_seq.figures import tables

        directory, console = Path(config.hydra.sweep.dir), Console()
        found, failed = members(under(directory)), failures(directory)
        if found:
            write(found, directory / "sweep.csv")
            console.print(tables.sweep(over_seeds(found), escape(f"{directory}, {len(found)} runs")))
            console.print(f"every run: {directory / 'sweep.csv'}", highlight=False, markup=False, soft_wrap=True)
        for path, said in failed.items():
            console.print(f"[red]failed:[/] {escape(f'{path.name}: {said}')}", highlight=False, soft_wrap=True)
        if failed:
            again = f"the same command tries them again with {pasted('hydra.sweep.dir', directory)}"
            console.print(again, highlight=False, markup=False, soft_wrap=True)
            raise SystemExit(1)


def under(directory: Path) -> list[Path]:
    """The runs under a directory."""
    return [path.parent for path in sorted(directory.rglob("metrics.json"))]


def members(runs: list[Path]) -> list[Member]:
    """Those of the runs that were judged on val, by what sets them apart."""
    judged = [(Run(path), Run(path).metrics) for path in runs]
    told = [
        (run, metrics, dict(_pair(override) for override in metrics.get("overrides", [])))
        for run, metrics in judged
        if "val" in metrics and "seed" in metrics
    ]
    return [
        Member(
            run.path,
            {key: value for key, value in choices.items() if key != "seed" and not _common(key, value, told)},
            metrics["seed"],
            {name: metrics["val"][name] for name in FIGURES}
            | {
                name: metrics.get(name, nan)
                for name in ("parameters", "scenes", "flops", "scenes_per_second", "seconds")
            },
        )
        for run, metrics, choices in told
    ]


def failures(directory: Path) -> dict[Path, str]:
    """Jobs under a directory that failed when they were last run, and why."""
    return {path.parent: path.read_text().partition("\n")[0] for path in sorted(directory.rglob(FAILURE))}


def over_seeds(found: list[Member]) -> dict[str, dict[str, tuple[float, float, int]]]:
    """Choices, by the last parts of their keys where these tell them apart -> figure -> mean, deviation, seeds."""
    groups: dict[str, list[Member]] = {}
    keys = {key for member in found for key in member.choices}
    short = {key: key.rpartition(".")[2] for key in keys}
    told = {key: short[key] if list(short.values()).count(short[key]) == 1 else key for key in keys}
    for member in found:
        name = " ".join(f"{told[key]}={value}" for key, value in member.choices.items()) or "default"
        groups.setdefault(name, []).append(member)
    return {
        name: {figure: _spread([it.figures[figure] for it in group]) for figure in group[0].figures}
        for name, group in groups.items()
    }


def write(found: list[Member], path: Path) -> None:
    """A line a run: its choices, seed, figures and directory."""
    keys = sorted({key for member in found for key in member.choices})
    with whole(path) as beside, beside.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*keys, "seed", *found[0].figures, "run"])
        for member in found:
            chosen = [member.choices.get(key, "") for key in keys]
            table.writerow([*chosen, member.seed, *member.figures.values(), member.path])


def _pair(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value


def _common(key: str, value: str, told: list[tuple[Run, Any, dict[str, str]]]) -> bool:
    return len(told) > 1 and all(choices.get(key) == value for _, _, choices in told)


def _spread(values: list[float]) -> tuple[float, float, int]:
    known = [value for value in values if not isnan(value)]  # runs of older versions tell less
    return mean(known or [nan]), stdev(known) if len(known) > 1 else 0.0, len(values)
