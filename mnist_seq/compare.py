"""Readers side by side, on the same scenes: `python -m mnist_seq.compare runs=[outputs/a,outputs/b]`."""

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
    from omegaconf import DictConfig
    from rich.console import Console

    from mnist_seq.evaluation.evaluator import Evaluator
    from mnist_seq.evaluation.significance import ComparedModel


def main() -> None:
    cli.run_command("compare", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.training import hardware

    config, console = cli.to_dataclass(cfg, CompareConfig), Console(highlight=False, soft_wrap=True)
    hardware.tune_malloc()
    groups = {name: expand_runs(name) for name in config.runs}
    if len(groups) == 1:
        compare_sweep(config.runs[0], groups[config.runs[0]], config, console)
    else:
        compare_models(groups, config, console)


def expand_runs(pattern: str) -> list[str]:
    """The runs that a name means: itself, or those in a folder, or those that match a pattern.

    Raises:
        FileNotFoundError: none.
    """
    from mnist_seq.run_dir import Run

    if pattern.startswith("pretrained:"):
        return [pattern]
    path = Path(pattern)
    if has_magic(pattern) and not path.exists():
        root, pattern = (Path("/"), pattern[1:]) if path.is_absolute() else (Path(), pattern)
        runs = [str(it) for it in sorted(root.glob(pattern)) if Run(it).finished]
    elif path.is_dir() and not Run(path).exists:
        runs = [str(it.parent) for it in sorted(path.rglob("weights.safetensors"))]
    elif path.exists():
        return [pattern]
    else:
        raise NotFoundError(f"{pattern} does not exist: give run directories, or a folder of them")
    if not runs:
        raise NotFoundError(f"{pattern} holds no finished run: give run directories, or a folder of them")
    return runs


def check_comparable(groups: dict[str, list[str]]) -> None:
    """Refuse what would compare several seeds with one, or mix recipes.

    Raises:
        ValueError: a group holds another number of runs than one where others hold one, or runs of several recipes.
    """
    from mnist_seq.run_dir import Run

    sizes = {name: len(runs) for name, runs in groups.items()}
    if min(sizes.values()) == 1 < max(sizes.values()):
        told = ", ".join(f"{name} holds {many}" for name, many in sizes.items())
        raise UserError(f"runs compare with runs, and several seeds with several: {told}")
    for name, runs in groups.items():
        recipes = [Run.open(run).config_without_seed for run in runs if len(runs) > 1]
        check(
            all(recipe == recipes[0] for recipe in recipes),
            f"{name} holds runs that differ in more than their seed: give each recipe its own pattern, "
            f"or runs=[{name}] alone for a table of all",
        )


def compare_sweep(name: str, runs: list[str], config: CompareConfig, console: Console) -> None:
    """All runs of a folder or pattern, by what they say of themselves."""
    from rich.markup import escape

    from mnist_seq.reporting import tables
    from mnist_seq.sweeps import sweep_report
    from mnist_seq.sweeps import sweep_runs as sweeps

    asked = config.data is not None or config.scenes is not None or config.split != "val"
    check(not asked, f"runs=[{name}] is shown by what its runs found on val: leave out data, split and scenes")
    found = sweeps.load_runs([Path(run) for run in runs])
    check(len(found) > 1, f"runs=[{name}] holds {len(found)} judged runs: name two runs or more, or a sweep")
    folder = Path(config.output_dir or (name if Path(name).is_dir() else _default_output_dir()))
    make_dir("output_dir", folder)
    console.print(tables.sweep_table(sweeps.aggregate_over_seeds(found), escape(f"{name}, {len(found)} runs")))
    for notice in sweeps.notices(found):
        console.print(f"[bold red]{escape(notice)}")
    atomic_write_text(folder / "comparison.html", sweep_report.render_sweep(found, name))
    console.print(f"to look at: {folder / 'comparison.html'}", markup=False)


def compare_models(groups: dict[str, list[str]], config: CompareConfig, console: Console) -> None:
    """Each against the first, on the scenes of the first."""
    from rich.markup import escape

    from mnist_seq.evaluation.significance import compare_pair, describe_difference, letter_labels
    from mnist_seq.reporting import comparison, tables

    check_comparable(groups)
    folder = Path(config.output_dir or _default_output_dir())
    contenders, exam = _evaluate_all(groups, config, folder)
    against = [compare_pair(contenders[0], other) for other in contenders[1:]]
    notice = exam.datasets.notice
    if notice:
        console.print(f"[bold red]{escape(notice)}")
    said = (
        f"{exam.num_scenes:,} {config.split} scenes of {exam.data.family}, digits: {exam.datasets.source}; "
        + (
            "on other seeds, 95 %"
            if len(contenders[0].results) > 1
            else "on other scenes, 95 %, shared digits respected"
        )
        + ("; each alone against the first, not corrected for their number" if len(against) > 1 else "")
    )
    for letter, it in zip(letter_labels(contenders), contenders, strict=True):
        console.print(f"[bold]{letter}[/]  {escape(it.name)}")
    console.print(tables.comparison_table(contenders, against))
    for letter, found in zip(letter_labels(contenders)[1:], against, strict=True):
        console.print(f"[bold]{letter}[/] against [bold]A[/]: {describe_difference(found.difference)}")
    console.print(said, markup=False)
    told = {
        "scenes": exam.num_scenes,
        "split": config.split,
        "contenders": [{"name": it.name, "runs": groups[it.name], "exact_match": it.scores} for it in contenders],
        "against_the_first": [
            it.difference._asdict() | {"gained": it.gained.tolist(), "lost": it.lost.tolist()} for it in against
        ],
    }
    atomic_write_text(folder / "comparison.json", json.dumps(told, indent=2) + "\n")
    atomic_write_text(
        folder / "comparison.html", comparison.render_models(contenders, against, exam.scenes, said, notice)
    )
    console.print(f"to look at: {folder / 'comparison.html'}", markup=False)


def _evaluate_all(
    groups: dict[str, list[str]], config: CompareConfig, folder: Path
) -> tuple[list[ComparedModel], Evaluator]:
    """Everybody, judged on the same scenes once all were found able to, and how the first was."""
    from mnist_seq.evaluation.evaluator import load_evaluator
    from mnist_seq.evaluation.significance import ComparedModel

    first = load_evaluator(config.evaluate_config(groups[config.runs[0]][0]))
    config.data = first.data
    exams = {
        name: [load_evaluator(config.evaluate_config(run), first.datasets) for run in runs]
        for name, runs in groups.items()
    }
    make_dir("output_dir", folder)
    return [ComparedModel(name, [it.evaluate() for it in each]) for name, each in exams.items()], first


def _default_output_dir() -> str:
    return f"outputs/compared/{datetime.now():%Y-%m-%d_%H-%M-%S}"


if __name__ == "__main__":
    main()
