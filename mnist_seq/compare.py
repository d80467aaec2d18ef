"""Compare models on the same scenes: `python -m mnist_seq.compare runs=[outputs/a,outputs/b]`."""

from __future__ import annotations

import json
from datetime import datetime
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import cli
from mnist_seq.atomic_io import atomic_write_text, make_dir
from mnist_seq.config import CompareConfig
from mnist_seq.config.validation import check
from mnist_seq.errors import NotFoundError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from mnist_seq.evaluation.evaluator import Evaluator
    from mnist_seq.evaluation.significance import ComparedModel, PairedComparison


def main() -> None:
    cli.run_command("compare", _job)


def _job(config: CompareConfig, run_dir: Path) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    groups = {pattern: expand_runs(pattern) for pattern in config.runs}
    if len(groups) == 1:
        compare_sweep(config.runs[0], groups[config.runs[0]], config, console)
    else:
        compare_models(groups, config, console)


def expand_runs(pattern: str) -> list[str]:
    """Return the models that a pattern stands for: a model itself, the runs in a folder, or the runs that match.

    Raises:
        NotFoundError: there is none.
        UserError: a pattern that cannot be.
    """
    from mnist_seq.run_dir import Run

    if pattern.startswith("pretrained:"):
        return [pattern]
    path = Path(pattern)
    if has_magic(pattern) and not path.exists():
        root, relative = (Path("/"), pattern[1:]) if path.is_absolute() else (Path(), pattern)
        try:
            matches = sorted(root.glob(relative))
        except ValueError as error:
            raise UserError(f"runs=[{pattern}] is not a pattern of paths: {error}") from error
        runs = [str(match) for match in matches if Run(match).finished]
    elif path.is_dir() and not Run(path).exists:
        runs = [str(weights.parent) for weights in sorted(path.rglob("weights.safetensors"))]
    elif path.exists():
        return [pattern]
    else:
        raise NotFoundError(f"{pattern} does not exist: give run directories, or a folder of them")
    if not runs:
        raise NotFoundError(f"{pattern} holds no finished run: give run directories, or a folder of them")
    return runs


def check_comparable(groups: dict[str, list[str]]) -> None:
    """Check that single models are compared with single models, and recipes of several seeds with such recipes.

    Args:
        groups: name -> the model, or the runs of one recipe.

    Raises:
        UserError: single models are mixed with several seeds, or a group has runs of several recipes.
    """
    from mnist_seq.run_dir import Run

    sizes = {name: len(runs) for name, runs in groups.items()}
    if min(sizes.values()) == 1 < max(sizes.values()):
        counts = ", ".join(f"{name} holds {size}" for name, size in sizes.items())
        raise UserError(f"runs mixes single runs with groups of seeds ({counts}): name only runs, or only groups")
    for name, runs in groups.items():
        opened = [Run.open(run) for run in runs if len(runs) > 1]
        recipes, seeds = [run.config_without_seed for run in opened], [run.config.seed for run in opened]
        check(
            all(recipe == recipes[0] for recipe in recipes),
            f"{name} holds runs that differ in more than their seed: give each recipe its own pattern, "
            f"or runs=[{name}] alone for a table of all",
        )
        check(
            len(set(seeds)) == len(seeds),
            f"{name} holds several runs of one seed ({', '.join(map(str, seeds))}), which are not independent samples: "
            "name one run per seed",
        )


def compare_sweep(pattern: str, runs: list[str], config: CompareConfig, console: Console) -> None:
    """Compare all runs of a folder or pattern by the metrics that they recorded on val."""
    from rich.markup import escape

    from mnist_seq.reporting import tables
    from mnist_seq.sweeps import sweep_report, sweep_runs

    evaluates = config.data is not None or config.scenes is not None or config.split != "val"
    check(not evaluates, f"runs=[{pattern}] uses the val metrics of its runs: leave out data, split and scenes")
    loaded = sweep_runs.load_runs([Path(run) for run in runs])
    check(len(loaded) > 1, f"runs=[{pattern}] holds {len(loaded)} evaluated runs: name two runs or more, or a sweep")
    folder = Path(config.output_dir or (pattern if Path(pattern).is_dir() else _default_output_dir()))
    make_dir("output_dir", folder)
    title = escape(f"{pattern}, {len(loaded)} runs")
    console.print(tables.sweep_table(sweep_runs.aggregate_over_seeds(loaded), title))
    for notice in sweep_runs.notices(loaded):
        console.print(f"[bold red]{escape(notice)}")
    atomic_write_text(folder / "comparison.html", sweep_report.render_sweep(loaded, pattern))
    console.print(f"report: {folder / 'comparison.html'}", markup=False)


def compare_models(groups: dict[str, list[str]], config: CompareConfig, console: Console) -> None:
    """Evaluate all models on the scenes of the first one, and compare each with the first."""
    from mnist_seq.evaluation.significance import compare_pair
    from mnist_seq.reporting import comparison

    check_comparable(groups)
    folder = Path(config.output_dir or _default_output_dir())
    models, evaluator = _evaluate_all(groups, config, folder)
    comparisons = [compare_pair(models[0], model) for model in models[1:]]
    caption = _caption(config, evaluator, models)
    _print_comparison(models, comparisons, caption, evaluator.datasets.notice, console)
    content = {
        "scenes": evaluator.num_scenes,
        "split": config.split,
        "models": [{"name": it.name, "runs": groups[it.name], "exact_match": it.scores} for it in models],
        "versus_baseline": [
            it.difference._asdict() | {"gained": it.gained.tolist(), "lost": it.lost.tolist()} for it in comparisons
        ],
    }
    page = comparison.render_models(models, comparisons, evaluator.scenes, caption, evaluator.datasets.notice)
    atomic_write_text(folder / "comparison.json", json.dumps(content, indent=2) + "\n")
    atomic_write_text(folder / "comparison.html", page)
    console.print(f"report: {folder / 'comparison.html'}", markup=False)


def _evaluate_all(
    groups: dict[str, list[str]], config: CompareConfig, folder: Path
) -> tuple[list[ComparedModel], Evaluator]:
    """Evaluate all models once all are loaded and found compatible; also return the evaluator of the first."""
    from mnist_seq.evaluation.evaluator import load_evaluator
    from mnist_seq.evaluation.significance import ComparedModel

    baseline = groups[config.runs[0]][0]
    first = load_evaluator(config.evaluate_config(baseline))
    config.data = first.data

    def load(run: str) -> Evaluator:
        return first if run == baseline else load_evaluator(config.evaluate_config(run), first.datasets)

    evaluators = {name: [load(run) for run in runs] for name, runs in groups.items()}
    make_dir("output_dir", folder)
    return [ComparedModel(name, [it.evaluate() for it in group]) for name, group in evaluators.items()], first


def _caption(config: CompareConfig, evaluator: Evaluator, models: list[ComparedModel]) -> str:
    """What was evaluated, and what the intervals mean."""
    from mnist_seq.evaluation.writers import describe_intervals

    if len(models[0].results) > 1:
        intervals = "interval over seeds (Welch)"
    elif evaluator.scenes.labels:
        intervals = describe_intervals(evaluator.scenes.labels[: evaluator.num_scenes], evaluator.scenes.writer_column)
    else:
        intervals = "interval over scenes, clustered by source digit"
    scenes = f"{evaluator.num_scenes:,} {config.split} scenes of {evaluator.data.family}"
    note = "; each against the first, without correction for multiple comparisons" if len(models) > 2 else ""
    return f"{scenes}, digits: {evaluator.datasets.source}; 95 % {intervals}{note}"


def _print_comparison(
    models: list[ComparedModel], comparisons: list[PairedComparison], caption: str, notice: str, console: Console
) -> None:
    from rich.markup import escape

    from mnist_seq.evaluation.significance import describe_difference, letter_labels
    from mnist_seq.reporting import tables

    letters = letter_labels(models)
    if notice:
        console.print(f"[bold red]{escape(notice)}")
    for letter, model in zip(letters, models, strict=True):
        console.print(f"[bold]{letter}[/]  {escape(model.name)}")
    console.print(tables.comparison_table(models, comparisons))
    for letter, compared in zip(letters[1:], comparisons, strict=True):
        console.print(f"[bold]{letter}[/] against [bold]A[/]: {describe_difference(compared.difference)}")
    console.print(caption, markup=False)


def _default_output_dir() -> str:
    return f"outputs/comparisons/{datetime.now():%Y-%m-%d_%H-%M-%S}"


if __name__ == "__main__":
    main()
