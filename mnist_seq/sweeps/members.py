"""The runs of a sweep: what each was asked, what sets it apart from the others, what it came to."""

from __future__ import annotations

from math import isnan, nan
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from mnist_seq.run import Run
from mnist_seq.sweeps.settings import differences, settings

FIGURES = ("exact_match", "multiset_match", "digit_accuracy", "count_accuracy", "loss")
"""Of val, in sweep.csv; losses of different names do not compare."""
_SCENES = ("data.digits", "data.val_scenes", "data.scene_seed")
"""Which scenes a run was judged on, though all ran the same presets: figures on others do not compare."""
_WHERE = ("preset", "accelerator", "precision", "matmul_precision", "compile", "threads", "log_every_n_steps")
"""Keys of the trainer that say how a run was computed, not what: seeds on several machines are seeds of one choice."""


class Member(NamedTuple):
    """A finished run of a sweep."""

    path: Path
    choices: dict[str, str]
    """Its overrides, the seed's apart."""
    found: dict[str, str]
    """What it differs in from others although no override says so, as whose digits were at hand."""
    seed: int
    figures: dict[str, float]
    digits: str
    """Whose they were; empty where a run of an older version does not say."""
    notice: str
    """What whoever sees its figures must be told."""

    @property
    def apart(self) -> dict[str, str]:
        """All that sets it apart, the seed aside."""
        return self.choices | self.found

    @property
    def condition(self) -> str:
        """All that no override says, in a line; figures under different ones do not compare."""
        return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in self.found.items())


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
    asked = [
        {key: value for key, value in choices.items() if key != "seed" and not _common(key, value, told)}
        for _, _, choices in told
    ]
    found = _unasked(asked, [_settings(run, metrics) for run, metrics, _ in told])
    return [
        Member(
            run.path,
            choices,
            {key: value for key, value in others.items() if key not in choices},
            metrics["seed"],
            {name: metrics["val"][name] for name in FIGURES}
            | {
                name: metrics.get(name, nan)
                for name in ("parameters", "scenes", "flops", "scenes_per_second", "seconds")
            },
            metrics.get("digits", ""),
            metrics.get("notice", ""),
        )
        for (run, metrics, _), choices, others in zip(told, asked, found, strict=True)
    ]


def notices(found: list[Member]) -> list[str]:
    """What whoever sees figures of all of them must be told."""
    return sorted({member.notice for member in found if member.notice})


def over_seeds(found: list[Member]) -> dict[str, dict[str, tuple[float, float, int]]]:
    """What sets runs apart, by the last parts of keys where these differ -> figure -> mean, deviation, seeds."""
    return {
        name: {figure: _spread([it.figures[figure] for it in group]) for figure in group[0].figures}
        for name, group in groups(found).items()
    }


def groups(found: list[Member]) -> dict[str, list[Member]]:
    """Runs that differ in their seed alone, by name."""
    grouped: dict[str, list[Member]] = {}
    keys = {key for member in found for key in member.apart}
    short = {key: key.rpartition(".")[2] for key in keys}
    told = {key: short[key] if list(short.values()).count(short[key]) == 1 else key for key in keys}
    for member in found:
        name = " ".join(f"{told[key]}={value}" for key, value in member.apart.items()) or "default"
        grouped.setdefault(name, []).append(member)
    return grouped


def _settings(run: Run, metrics: dict[str, Any]) -> dict[str, Any]:
    """What a run was done with, its seed apart, as far as it says."""
    known = settings(run.config) if run.exists else {}
    ignored = {"seed", *(f"trainer.{key}" for key in _WHERE)}
    told = {"data.digits": metrics["digits"]} if "digits" in metrics else {}
    return {key: value for key, value in (known | told).items() if key not in ignored}


def _unasked(asked: list[dict[str, str]], settled: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Of each run, the values that differ between runs of the same overrides, or among scenes judged on."""
    first: dict[str, dict[str, Any]] = {}
    keys = {key for key in _SCENES if len({str(each[key]) for each in settled if key in each}) > 1}
    for choices, each in zip(asked, settled, strict=True):
        if "data.family" in each:  # its config is there
            keys |= differences(first.setdefault(str(sorted(choices.items())), each), each).keys()
    return [{key: str(each.get(key, "")) for key in sorted(keys) if each} for each in settled]


def _pair(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value


def _common(key: str, value: str, told: list[tuple[Run, Any, dict[str, str]]]) -> bool:
    return len(told) > 1 and all(choices.get(key) == value for _, _, choices in told)


def _spread(values: list[float]) -> tuple[float, float, int]:
    known = [value for value in values if not isnan(value)]  # runs of older versions tell less
    return mean(known or [nan]), stdev(known) if len(known) > 1 else 0.0, len(values)
