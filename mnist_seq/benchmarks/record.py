"""Suite record: time to accuracy of a recipe, and whether a challenger sets a new record.

The rule: both are trained in turn with five seeds on one machine, and validated once, after their last step. The mean
exact match of the challenger is above the target (one-sided t-test over seeds, p < 0.01), and its runs take fewer
seconds than those of the record with the same seeds (one-sided paired t-test, p < 0.01).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from math import isnan
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, NamedTuple

from mnist_seq.compose_config import compose_training
from mnist_seq.config.validation import check
from mnist_seq.errors import UserError
from mnist_seq.evaluation.significance import format_p_value
from mnist_seq.run_dir import Run

NUM_SEEDS = 5
MAX_P_VALUE = 0.01
_HEADING = """\
| date | commit | seeds | scenes | seconds | exact match, % | p | recipe |
|---|---|---|---|---|---|---|---|"""


class Recipe(NamedTuple):
    """What is trained, and for which score."""

    overrides: list[str]
    target: float
    """Exact match to exceed, in [0, 1]."""

    @property
    def name(self) -> str:
        return " ".join(self.overrides)


class Attempt(NamedTuple):
    """What one run reached."""

    exact_match: float
    """On val, in [0, 1]."""
    seconds: float
    """Of training and validation."""
    num_scenes: int
    """Training scenes."""
    revision: str
    """Commit of the package."""


class Contender(NamedTuple):
    """A recipe and its runs, one per seed."""

    recipe: Recipe
    attempts: list[Attempt]

    @property
    def scores(self) -> list[float]:
        return [attempt.exact_match for attempt in self.attempts]

    @property
    def seconds(self) -> list[float]:
        return [attempt.seconds for attempt in self.attempts]

    @property
    def p_above_target(self) -> float:
        """P-value of the hypothesis that the recipe does not exceed the target, on average over all seeds."""
        from scipy.stats import ttest_1samp

        return _or_one(ttest_1samp(self.scores, self.recipe.target, alternative="greater").pvalue)

    def p_faster_than(self, other: Contender) -> float:
        """P-value of the hypothesis that the recipe is no faster than another, seed by seed."""
        from scipy.stats import ttest_rel

        return _or_one(ttest_rel(self.seconds, other.seconds, alternative="less").pvalue)

    def markdown_row(self) -> str:
        """Row of a table of records; seconds are median and range, exact match is mean and standard deviation."""
        _, _, num_scenes, revision = self.attempts[0]
        seconds = f"{median(self.seconds):.0f} ({min(self.seconds):.0f} to {max(self.seconds):.0f})"
        score = f"{100 * mean(self.scores):.2f} ± {100 * stdev(self.scores):.2f}"
        cells = (date.today(), f"`{revision[:7]}`", len(self.attempts), f"{num_scenes:,}", seconds, score)
        return f"| {' | '.join(map(str, cells))} | {format_p_value(self.p_above_target)} | `{self.recipe.name}` |"


def load_recipes(experiment: str, challenger: list[str]) -> list[Recipe]:
    """Compose the recipe of a record and, if it has overrides, that of its challenger.

    Raises:
        UserError: one has no target, or is validated before its last step; or as for `compose_training`.
    """
    record = [f"experiment={experiment}"]
    return [Recipe(it, _target(it)) for it in (record, [*record, *challenger])[: 1 + bool(challenger)]]


def train_contenders(recipes: list[Recipe], folder: Path, report: Callable[[str], None]) -> list[Contender]:
    """Train all recipes with one seed, then all with the next.

    Args:
        folder: for the run directories.
        report: called with a line after each run.

    Raises:
        UserError: a run fails.
    """
    contenders = [Contender(recipe, []) for recipe in recipes]
    for seed in range(NUM_SEEDS):
        for index, (recipe, attempts) in enumerate(contenders):
            attempts.append(_train([*recipe.overrides, f"seed={seed}"], folder / f"{index}_{seed}"))
            report(f"{recipe.name} seed={seed}: {attempts[-1].exact_match:.2%} in {attempts[-1].seconds:.0f} s")
    return contenders


def to_dict(contenders: list[Contender]) -> list[dict[str, Any]]:
    """Convert contenders to plain values, for bench.json."""
    return [
        {**it.recipe._asdict(), "p_above_target": it.p_above_target, "runs": [run._asdict() for run in it.attempts]}
        for it in contenders
    ]


def to_markdown(contenders: list[Contender]) -> str:
    """Format a table of the contenders, and the verdict."""
    return "\n".join([_HEADING, *(it.markdown_row() for it in contenders), "", verdict(contenders)])


def verdict(contenders: list[Contender]) -> str:
    """Say whether the last contender holds the record, by the rule."""
    record, last = contenders[0], contenders[-1]
    above = f"above {last.recipe.target:.2%} with p {_format(last.p_above_target)}"
    if last.p_above_target >= MAX_P_VALUE:
        return f"No record: {above}; the rule is p < {MAX_P_VALUE}."
    if last is record:
        return f"The record holds: {above}."
    p_value = last.p_faster_than(record)
    seconds = f"{_median_ratio(last.seconds, record.seconds):.2f} times the seconds, fewer with p {_format(p_value)}"
    if p_value >= MAX_P_VALUE:
        return f"No record: {above}, but {seconds}; the rule is p < {MAX_P_VALUE}."
    return f"A new record: {above}; {seconds}."


def _target(overrides: list[str]) -> float:
    """The score to exceed. The best of several validations would be too good: there must be one alone."""
    name = " ".join(overrides)
    config = compose_training([*overrides, "seed=0"])
    thresholds = [it["stopping_threshold"] for it in (config.callbacks or {}).values() if "stopping_threshold" in it]
    check(bool(thresholds), f"{name} has no target: choose an experiment with callbacks=reached")
    steps, interval = config.trainer.max_steps, config.trainer.val_check_interval
    check(
        steps == interval,
        f"{name} is validated every {interval} steps: set trainer.val_check_interval to trainer.max_steps={steps}",
    )
    return float(thresholds[0])


def _train(overrides: list[str], run_dir: Path) -> Attempt:
    """Train in a process of its own."""
    arguments = [*overrides, "report=false", f"hydra.run.dir={run_dir}"]
    command = [sys.executable, "-m", "mnist_seq.train", *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{' '.join(overrides)} failed: {reason}")
    metrics = Run(run_dir).metrics
    return Attempt(metrics["val"]["exact_match"], metrics["seconds"], metrics["scenes"], metrics.get("revision", ""))


def _median_ratio(numbers: list[float], others: list[float]) -> float:
    return median(number / other for number, other in zip(numbers, others, strict=True))


def _format(p_value: float) -> str:
    formatted = format_p_value(p_value)
    return formatted if formatted.startswith("<") else f"= {formatted}"


def _or_one(p_value: float) -> float:
    """1 where a test has no p-value: equal numbers say nothing about other seeds."""
    return 1.0 if isnan(p_value) else float(p_value)
