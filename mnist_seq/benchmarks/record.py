"""Suite record: time to accuracy of a recipe, and whether a challenger sets a new record.

The rule: both are trained on one machine with the same five seeds, and validated once, after their last step. The mean
exact match of the challenger is above the target (one-sided t-test over seeds, p < 0.01), and its runs take fewer
seconds than those of the record with the same seeds (one-sided paired t-test, p < 0.01).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, NamedTuple

from mnist_seq.compose_config import compose_training
from mnist_seq.config.override_syntax import format_override
from mnist_seq.config.serialization import diff_settings, dotted_settings
from mnist_seq.config.validation import check
from mnist_seq.errors import UserError
from mnist_seq.evaluation.significance import format_p_value
from mnist_seq.run_dir import Run

SEEDS = range(100, 105)
MAX_P_VALUE = 0.01
_FREE_DATA_KEYS = ("data.batch_size", "data.augment.", "data.corruptions.", "data.num_train_scenes")
_FREE_KEYS = ("model.", "optim.", "loss.", "trainer.", "callbacks.", *_FREE_DATA_KEYS)
"""What a challenger may change, but for _SHARED_KEYS. All else decides how runs are scored, or where they start."""
_SHARED_KEYS = ("callbacks.reached.", "trainer.threads", "trainer.limit_val_batches")
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
    threads: int
    """CPU threads."""
    revision: str = ""
    """Commit of the package."""
    notice: str = ""
    """A warning to show with the score, such as NOT MNIST."""


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
        return _p_above_zero([score - self.recipe.target for score in self.scores])

    def p_faster_than(self, other: Contender) -> float:
        """P-value of the hypothesis that the recipe is no faster than another, seed by seed."""
        return _p_above_zero([theirs - ours for ours, theirs in zip(self.seconds, other.seconds, strict=True)])

    def markdown_row(self) -> str:
        """Row of a table of records; seconds are median and range, exact match is mean and standard deviation."""
        first = self.attempts[0]
        seconds = f"{median(self.seconds):.0f} ({min(self.seconds):.0f} to {max(self.seconds):.0f})"
        score = f"{100 * mean(self.scores):.2f} ± {100 * stdev(self.scores):.2f}"
        cells = (date.today(), f"`{first.revision[:7]}`", len(self.attempts), f"{first.num_scenes:,}", seconds, score)
        return f"| {' | '.join(map(str, cells))} | {format_p_value(self.p_above_target)} | `{self.recipe.name}` |"


def load_recipes(experiment: str, challenger: list[str]) -> list[Recipe]:
    """Compose the recipe of a record and, if it has overrides, that of its challenger.

    Raises:
        UserError: a recipe is not validated exactly once, after its last step; the record has no target; the challenger
            changes how runs are scored or where they start; or as for `compose_training`.
    """
    record, key = [f"experiment={experiment}"], "callbacks.reached.stopping_threshold"
    settings = _settings(record)
    check(key in settings, f"record={experiment} has no target: choose an experiment with callbacks=reached")
    _check_one_validation(record, settings)
    recipes = [Recipe(record, float(settings[key]))]
    if challenger:
        overrides = [*record, *challenger]
        changed = _settings(overrides)
        for key in diff_settings(settings, changed):
            check(
                key.startswith(_FREE_KEYS) and not key.startswith(_SHARED_KEYS),
                f"challenger={challenger} changes {key}, which must be as in the record: a challenger may change "
                f"model, optim, loss, trainer, callbacks and {', '.join(_FREE_DATA_KEYS)}",
            )
        _check_one_validation(overrides, changed)
        recipes.append(Recipe(overrides, recipes[0].target))
    return recipes


def train_contenders(recipes: list[Recipe], folder: Path, report: Callable[[str], None]) -> list[Contender]:
    """Train all recipes with one seed, then all with the next in reverse order, with the same number of threads.

    Args:
        folder: for the run directories.
        report: called with a line after each run.

    Raises:
        UserError: the folder exists, or a run fails.
    """
    check(not folder.exists(), f"{folder} already holds runs: choose another output_dir")
    contenders = [Contender(recipe, []) for recipe in recipes]
    threads: list[str] = []
    for seed in SEEDS:
        for recipe, attempts in contenders if seed % 2 == 0 else reversed(contenders):
            overrides = [*recipe.overrides, f"seed={seed}"]
            attempt = _train([*overrides, *threads], folder / f"{recipes.index(recipe)}_{seed}")
            threads = [f"trainer.threads={attempt.threads}"]
            attempts.append(attempt)
            report(f"{' '.join(overrides)}: {attempt.exact_match:.2%} in {attempt.seconds:.0f} s")
    return contenders


def to_values(contenders: list[Contender]) -> dict[str, Any]:
    """Convert contenders to plain values, for bench.json."""
    return {
        "verdict": verdict(contenders),
        "contenders": [
            {
                **it.recipe._asdict(),
                "p_above_target": it.p_above_target,
                "p_faster_than_record": it.p_faster_than(contenders[0]),
                "runs": [run._asdict() for run in it.attempts],
            }
            for it in contenders
        ],
    }


def to_markdown(contenders: list[Contender]) -> str:
    """Format a table of the contenders, the verdict, and the notices of their runs."""
    notices = sorted({run.notice for it in contenders for run in it.attempts if run.notice})
    return "\n".join([_HEADING, *(it.markdown_row() for it in contenders), "", verdict(contenders), *notices])


def verdict(contenders: list[Contender]) -> str:
    """Say whether the last contender sets a record or, alone, holds it, by the rule."""
    record, last = contenders[0], contenders[-1]
    failure, rule = "The record does not hold" if last is record else "Not a record", f"the rule is p < {MAX_P_VALUE}"
    p_above, target = last.p_above_target, f"above {last.recipe.target:.2%}"
    if p_above >= MAX_P_VALUE:
        return f"{failure}: exact match is not significantly {target} (p {_format(p_above)}; {rule})."
    score = f"exact match is {target} (p {_format(p_above)})"
    if last is record:
        return f"The record holds: {score}."
    p_faster = last.p_faster_than(record)
    ratio = median(ours / theirs for ours, theirs in zip(last.seconds, record.seconds, strict=True))
    time = f"{ratio:.2f} times the seconds of the record, median over seeds, p {_format(p_faster)}"
    if p_faster >= MAX_P_VALUE:
        return f"{failure}: {score}, but training is not significantly faster ({time}; {rule})."
    return f"A new record: {score}, and training is faster ({time})."


def _settings(overrides: list[str]) -> dict[str, Any]:
    return dotted_settings(compose_training([*overrides, "seed=0"]))


def _check_one_validation(overrides: list[str], settings: dict[str, Any]) -> None:
    """Refuse a recipe that is validated several times: the best of several scores would be too good."""
    steps, interval = settings.get("trainer.max_steps"), settings.get("trainer.val_check_interval")
    check(
        steps is not None and steps * settings.get("trainer.accumulate_grad_batches", 1) == interval,
        f"{' '.join(overrides)} is validated every {interval} batches, and ends after trainer.max_steps={steps}: set "
        "trainer.val_check_interval so that it is validated once, after its last step",
    )


def _train(overrides: list[str], run_dir: Path) -> Attempt:
    """Train in a process of its own."""
    arguments = [*overrides, "report=false", format_override("hydra.run.dir", str(run_dir))]
    command = [sys.executable, "-m", "mnist_seq.train", *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{' '.join(overrides)} failed: {reason}")
    metrics = Run(run_dir).metrics
    return Attempt(
        exact_match=metrics["val"]["exact_match"],
        seconds=metrics["seconds"],
        num_scenes=metrics["scenes"],
        threads=metrics["threads"],
        revision=metrics.get("revision", ""),
        notice=metrics["notice"],
    )


def _p_above_zero(values: list[float]) -> float:
    """P-value of a one-sided t-test; 1 if all values are equal, which says nothing about other seeds."""
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(values, 0, alternative="greater").pvalue) if stdev(values) > 1e-12 else 1.0


def _format(p_value: float) -> str:
    formatted = format_p_value(p_value)
    return formatted if formatted.startswith("<") else f"= {formatted}"
