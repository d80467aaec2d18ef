"""The runs of a sweep: what each was asked, what sets it apart from the others, what it came to."""

from __future__ import annotations

from math import isnan, nan
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from mnist_seq.run_dir import Run
from mnist_seq.sweeps.config_diff import diff_settings, resolved_settings

VAL_METRICS = ("exact_match", "multiset_match", "digit_accuracy", "count_accuracy", "loss")
"""Of val, in sweep.csv; losses of different names do not compare."""
_EVAL_DATA_KEYS = ("data.digits", "data.val_scenes", "data.scene_seed")
"""Which scenes a run was judged on, though all ran the same presets: figures on others do not compare."""
_HARDWARE_KEYS = ("preset", "accelerator", "precision", "matmul_precision", "compile", "threads", "log_every_n_steps")
"""Keys of the trainer that say how a run was computed, not what: seeds on several machines are seeds of one choice."""


class SweepRun(NamedTuple):
    """A finished run of a sweep."""

    path: Path
    overrides: dict[str, str]
    """Its overrides, the seed's apart."""
    implicit_settings: dict[str, str]
    """What it differs in from others although no override says so, as whose digits were at hand."""
    seed: int
    metrics: dict[str, float]
    digits: str
    """Whose they were; empty where a run of an older version does not say."""
    notice: str
    """What whoever sees its figures must be told."""

    @property
    def distinguishing_settings(self) -> dict[str, str]:
        """All that sets it apart, the seed aside."""
        return self.overrides | self.implicit_settings

    @property
    def condition(self) -> str:
        """All that no override says, in a line; figures under different ones do not compare."""
        return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in self.implicit_settings.items())


def find_runs(directory: Path) -> list[Path]:
    """The runs under a directory."""
    return [path.parent for path in sorted(directory.rglob("metrics.json"))]


def load_runs(paths: list[Path]) -> list[SweepRun]:
    """Those of the runs that were judged on val, by what sets them apart."""
    judged = [(Run(path), Run(path).metrics) for path in paths]
    told = [
        (run, metrics, dict(_split_override(override) for override in metrics.get("overrides", [])))
        for run, metrics in judged
        if "val" in metrics and "seed" in metrics
    ]
    asked = [
        {key: value for key, value in choices.items() if key != "seed" and not _is_shared(key, value, told)}
        for _, _, choices in told
    ]
    found = _implicit_settings(asked, [_run_settings(run, metrics) for run, metrics, _ in told])
    return [
        SweepRun(
            run.path,
            choices,
            {key: value for key, value in others.items() if key not in choices},
            metrics["seed"],
            {name: metrics["val"][name] for name in VAL_METRICS}
            | {
                name: metrics.get(name, nan)
                for name in ("parameters", "scenes", "flops", "scenes_per_second", "seconds")
            },
            metrics.get("digits", ""),
            metrics.get("notice", ""),
        )
        for (run, metrics, _), choices, others in zip(told, asked, found, strict=True)
    ]


def notices(runs: list[SweepRun]) -> list[str]:
    """What whoever sees figures of all of them must be told."""
    return sorted({member.notice for member in runs if member.notice})


def aggregate_over_seeds(runs: list[SweepRun]) -> dict[str, dict[str, tuple[float, float, int]]]:
    """What sets runs apart, by the last parts of keys where these differ -> figure -> mean, deviation, seeds."""
    return {
        name: {figure: _mean_and_std([it.metrics[figure] for it in group]) for figure in group[0].metrics}
        for name, group in group_by_config(runs).items()
    }


def group_by_config(runs: list[SweepRun]) -> dict[str, list[SweepRun]]:
    """Runs that differ in their seed alone, by name."""
    grouped: dict[str, list[SweepRun]] = {}
    keys = {key for member in runs for key in member.distinguishing_settings}
    short = {key: key.rpartition(".")[2] for key in keys}
    told = {key: short[key] if list(short.values()).count(short[key]) == 1 else key for key in keys}
    for member in runs:
        name = " ".join(f"{told[key]}={value}" for key, value in member.distinguishing_settings.items()) or "default"
        grouped.setdefault(name, []).append(member)
    return grouped


def _run_settings(run: Run, metrics: dict[str, Any]) -> dict[str, Any]:
    """What a run was done with, its seed apart, as far as it says."""
    known = resolved_settings(run.config) if run.exists else {}
    ignored = {"seed", *(f"trainer.{key}" for key in _HARDWARE_KEYS)}
    told = {"data.digits": metrics["digits"]} if "digits" in metrics else {}
    return {key: value for key, value in (known | told).items() if key not in ignored}


def _implicit_settings(overrides: list[dict[str, str]], settings: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Of each run, the values that differ between runs of the same overrides, or among scenes judged on."""
    first: dict[str, dict[str, Any]] = {}
    keys = {key for key in _EVAL_DATA_KEYS if len({str(each[key]) for each in settings if key in each}) > 1}
    for choices, each in zip(overrides, settings, strict=True):
        if "data.family" in each:  # its config is there
            keys |= diff_settings(first.setdefault(str(sorted(choices.items())), each), each).keys()
    return [{key: str(each.get(key, "")) for key in sorted(keys) if each} for each in settings]


def _split_override(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value


def _is_shared(key: str, value: str, runs: list[tuple[Run, Any, dict[str, str]]]) -> bool:
    return len(runs) > 1 and all(choices.get(key) == value for _, _, choices in runs)


def _mean_and_std(values: list[float]) -> tuple[float, float, int]:
    known = [value for value in values if not isnan(value)]  # runs of older versions tell less
    return mean(known or [nan]), stdev(known) if len(known) > 1 else 0.0, len(values)
