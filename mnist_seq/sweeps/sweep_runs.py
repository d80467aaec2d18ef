"""The finished runs of a sweep: their overrides, what else tells them apart, and their metrics."""

from __future__ import annotations

from math import isnan, nan
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from mnist_seq.config.override_syntax import split_override
from mnist_seq.config.serialization import diff_settings
from mnist_seq.run_dir import Run
from mnist_seq.sweeps.config_diff import resolved_settings

VAL_METRICS = ("exact_match", "multiset_match", "digit_accuracy", "count_accuracy", "loss")
"""Columns of sweep.csv, measured on val; values of different losses do not compare."""
_COST_METRICS = ("parameters", "scenes", "flops", "scenes_per_second", "seconds")
_EVAL_DATA_KEYS = ("data.digits", "data.val_scenes", "data.scene_seed")
"""Keys that choose the val scenes of a data preset: metrics on different scenes do not compare."""
_HARDWARE_KEYS = ("preset", "accelerator", "precision", "matmul_precision", "compile", "threads", "log_every_n_steps")
"""Trainer keys that say where and how a run was computed: seeds may be spread over several machines."""


class SweepRun(NamedTuple):
    """A finished run of a sweep."""

    path: Path
    overrides: dict[str, str]
    """Its overrides but the seed and those that all runs share."""
    implicit_settings: dict[str, str]
    """Settings in which it differs from other runs although no override says so, such as the digit source."""
    seed: int
    metrics: dict[str, float]
    """VAL_METRICS, and the cost of its training; NaN where an older version recorded none."""
    digits: str
    """The digit source; empty where an older version recorded none."""
    notice: str
    """A warning to show wherever its metrics are shown, such as NOT MNIST; empty where there is none."""
    precision: str
    """That of its training, such as bf16-mixed; empty where an older version recorded none."""

    @property
    def distinguishing_settings(self) -> dict[str, str]:
        """All settings that tell it apart from the other runs, but the seed."""
        return self.overrides | self.implicit_settings

    @property
    def condition(self) -> str:
        """The implicit settings in one line; metrics under different conditions do not compare."""
        return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in self.implicit_settings.items())


def find_runs(directory: Path) -> list[Path]:
    """Run directories under a directory, sorted."""
    return [path.parent for path in sorted(directory.rglob("metrics.json"))]


def load_runs(paths: list[Path]) -> list[SweepRun]:
    """Load the runs that have val metrics, and find out what tells them apart."""
    loaded = [(run, run.metrics) for run in map(Run, paths)]
    evaluated = [(run, metrics) for run, metrics in loaded if {"val", "seed"} <= metrics.keys()]
    splits = [map(split_override, metrics.get("overrides", [])) for _, metrics in evaluated]
    all_overrides = [{key: value[1:] for _, key, value in split if _is_setting(key)} for split in splits]
    shared = set.intersection(*(set(it.items()) for it in all_overrides)) if len(evaluated) > 1 else set()
    own_overrides = [dict(item for item in it.items() if item not in shared) for it in all_overrides]
    implicit = _implicit_settings(own_overrides, [_run_settings(run, metrics) for run, metrics in evaluated])
    return [
        SweepRun(
            run.path,
            overrides,
            {key: value for key, value in settings.items() if key not in overrides},
            metrics["seed"],
            {name: metrics["val"][name] for name in VAL_METRICS}
            | {name: metrics.get(name, nan) for name in _COST_METRICS},
            metrics.get("digits", ""),
            metrics.get("notice", ""),
            metrics.get("precision", ""),
        )
        for (run, metrics), overrides, settings in zip(evaluated, own_overrides, implicit, strict=True)
    ]


def notices(runs: list[SweepRun]) -> list[str]:
    """The distinct notices of the runs, to be shown with any summary of them, and one if precisions are mixed."""
    precisions = sorted({run.precision for run in runs if run.precision})
    is_mixed = len(precisions) > 1 and not any({"trainer", "trainer.precision"} & {*run.overrides} for run in runs)
    mixed = (
        f"Trained in different precisions ({', '.join(precisions)}): unless this is intended, set trainer.precision."
    )
    return sorted({run.notice for run in runs if run.notice}) + [mixed] * is_mixed


def aggregate_over_seeds(runs: list[SweepRun]) -> dict[str, dict[str, tuple[float, float, int]]]:
    """Average metrics over seeds; of several runs of a seed, which are not independent, the last counts.

    Returns:
        Name of a configuration -> metric -> (mean, standard deviation, number of seeds). The standard deviation of a
        single seed is 0.
    """
    return {
        name: {metric: _mean_and_std([run.metrics[metric] for run in group]) for metric in group[0].metrics}
        for name, group in _group_by_config(runs).items()
    }


def _group_by_config(runs: list[SweepRun]) -> dict[str, list[SweepRun]]:
    """Group runs that differ only in their seed, one of each, by name.

    A name lists the settings that tell a group apart; keys are cut to their last part where that is unambiguous.
    """
    groups: dict[frozenset[tuple[str, str]], dict[int, SweepRun]] = {}
    keys = {key for run in runs for key in run.distinguishing_settings}
    short = {key: key.rpartition(".")[2] for key in keys}
    labels = {key: short[key] if list(short.values()).count(short[key]) == 1 else key for key in keys}
    for run in runs:
        groups.setdefault(frozenset(run.distinguishing_settings.items()), {})[run.seed] = run
    named = {}
    for by_seed in groups.values():
        group = list(by_seed.values())
        settings = group[0].distinguishing_settings  # in the order of its command line
        named[" ".join(f"{labels[key]}={value}" for key, value in settings.items()) or "default"] = group
    return named


def _is_setting(key: str) -> bool:
    """Whether an override says what is trained, rather than with which seed, or where to."""
    return key != "seed" and not key.startswith("hydra.")


def _run_settings(run: Run, metrics: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run, by dotted key, but its seed and its hardware."""
    settings = resolved_settings(run.config) if run.exists else {}
    if "digits" in metrics:
        settings["data.digits"] = metrics["digits"]
    ignored = {"seed", *(f"trainer.{key}" for key in _HARDWARE_KEYS)}
    return {key: value for key, value in settings.items() if key not in ignored}


def _implicit_settings(overrides: list[dict[str, str]], settings: list[dict[str, Any]]) -> list[dict[str, str]]:
    """For each run, the settings that differ between runs of equal overrides, or that choose the val scenes."""
    first: dict[str, dict[str, Any]] = {}
    keys = {key for key in _EVAL_DATA_KEYS if len({str(values[key]) for values in settings if key in values}) > 1}
    for own_overrides, values in zip(overrides, settings, strict=True):
        if "data.family" in values:  # the run has a config.yaml
            keys |= diff_settings(first.setdefault(str(sorted(own_overrides.items())), values), values).keys()
    return [{key: str(values.get(key, "")) for key in sorted(keys) if values} for values in settings]


def _mean_and_std(values: list[float]) -> tuple[float, float, int]:
    known = [value for value in values if not isnan(value)]  # older versions recorded fewer metrics
    return mean(known or [nan]), stdev(known) if len(known) > 1 else 0.0, len(values)
