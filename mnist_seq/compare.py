"""Readers side by side, on the same scenes: `python -m mnist_seq.compare runs=[outputs/a,outputs/b]`."""

from __future__ import annotations

import json
from datetime import datetime
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import command
from mnist_seq.atomic import require_folder, write_whole
from mnist_seq.config import CompareConfig
from mnist_seq.config.law import require
from mnist_seq.errors import NotFoundError, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

    from mnist_seq.judging.comparing import Contender
    from mnist_seq.learn.exam import Exam


def main() -> None:
    command.run("compare", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.learn import machine

    config, console = command.typed(cfg, CompareConfig), Console(highlight=False, soft_wrap=True)
    machine.keep_memory()
    groups = {name: members(name) for name in config.runs}
    if len(groups) == 1:
        sweep(config.runs[0], groups[config.runs[0]], config, console)
    else:
        readers(groups, config, console)


def members(name: str) -> list[str]:
    """The runs that a name means: itself, or those in a folder, or those that match a pattern.

    Raises:
        FileNotFoundError: none.
    """
    from mnist_seq.run import Run

    if name.startswith("pretrained:"):
        return [name]
    path = Path(name)
    if has_magic(name) and not path.exists():
        root, pattern = (Path("/"), name[1:]) if path.is_absolute() else (Path(), name)
        runs = [str(it) for it in sorted(root.glob(pattern)) if Run(it).finished]
    elif path.is_dir() and not Run(path).exists:
        runs = [str(it.parent) for it in sorted(path.rglob("weights.safetensors"))]
    elif path.exists():
        return [name]
    else:
        raise NotFoundError(f"{name} does not exist: give run directories, or a folder of them")
    if not runs:
        raise NotFoundError(f"{name} holds no finished run: give run directories, or a folder of them")
    return runs


def require_comparable(groups: dict[str, list[str]]) -> None:
    """Refuse what would compare several seeds with one, or mix recipes.

    Raises:
        ValueError: a group holds another number of runs than one where others hold one, or runs of several recipes.
    """
    from mnist_seq.run import Run

    sizes = {name: len(runs) for name, runs in groups.items()}
    if min(sizes.values()) == 1 < max(sizes.values()):
        told = ", ".join(f"{name} holds {many}" for name, many in sizes.items())
        raise UserError(f"runs compare with runs, and several seeds with several: {told}")
    for name, runs in groups.items():
        recipes = [Run.open(run).recipe for run in runs if len(runs) > 1]
        require(
            all(recipe == recipes[0] for recipe in recipes),
            f"{name} holds runs that differ in more than their seed: give each recipe its own pattern, "
            f"or runs=[{name}] alone for a table of all",
        )


def sweep(name: str, runs: list[str], config: CompareConfig, console: Console) -> None:
    """All runs of a folder or pattern, by what they say of themselves."""
    from rich.markup import escape

    from mnist_seq.figures import comparison, tables
    from mnist_seq.sweeps import members as sweeps

    asked = config.data is not None or config.scenes is not None or config.split != "val"
    require(not asked, f"runs=[{name}] is shown by what its runs found on val: leave out data, split and scenes")
    found = sweeps.members([Path(run) for run in runs])
    require(len(found) > 1, f"runs=[{name}] holds {len(found)} judged runs: name two runs or more, or a sweep")
    folder = Path(config.to or (name if Path(name).is_dir() else _new()))
    require_folder("to", folder)
    console.print(tables.sweep(sweeps.over_seeds(found), escape(f"{name}, {len(found)} runs")))
    for notice in sweeps.notices(found):
        console.print(f"[bold red]{escape(notice)}")
    write_whole(folder / "comparison.html", comparison.sweep(found, name))
    console.print(f"to look at: {folder / 'comparison.html'}", markup=False)


def readers(groups: dict[str, list[str]], config: CompareConfig, console: Console) -> None:
    """Each against the first, on the scenes of the first."""
    from rich.markup import escape

    from mnist_seq.figures import comparison, tables
    from mnist_seq.judging.comparing import in_words, letters, versus

    require_comparable(groups)
    folder = Path(config.to or _new())
    contenders, exam = _judged(groups, config, folder)
    against = [versus(contenders[0], other) for other in contenders[1:]]
    notice = exam.sets.notice
    if notice:
        console.print(f"[bold red]{escape(notice)}")
    said = (
        f"{exam.number:,} {config.split} scenes of {exam.data.family}, digits: {exam.sets.source}; "
        + (
            "on other seeds, 95 %"
            if len(contenders[0].judgements) > 1
            else "on other scenes, 95 %, shared digits respected"
        )
        + ("; each alone against the first, not corrected for their number" if len(against) > 1 else "")
    )
    for letter, it in zip(letters(contenders), contenders, strict=True):
        console.print(f"[bold]{letter}[/]  {escape(it.name)}")
    console.print(tables.comparison(contenders, against))
    for letter, found in zip(letters(contenders)[1:], against, strict=True):
        console.print(f"[bold]{letter}[/] against [bold]A[/]: {in_words(found.difference)}")
    console.print(said, markup=False)
    told = {
        "scenes": exam.number,
        "split": config.split,
        "contenders": [{"name": it.name, "runs": groups[it.name], "exact_match": it.scores} for it in contenders],
        "against_the_first": [
            it.difference._asdict() | {"gained": it.gained.tolist(), "lost": it.lost.tolist()} for it in against
        ],
    }
    write_whole(folder / "comparison.json", json.dumps(told, indent=2) + "\n")
    write_whole(folder / "comparison.html", comparison.readers(contenders, against, exam.scenes, said, notice))
    console.print(f"to look at: {folder / 'comparison.html'}", markup=False)


def _judged(groups: dict[str, list[str]], config: CompareConfig, folder: Path) -> tuple[list[Contender], Exam]:
    """Everybody, judged on the same scenes once all were found able to, and how the first was."""
    from mnist_seq.judging.comparing import Contender
    from mnist_seq.learn.exam import exam

    first = exam(config.examined(groups[config.runs[0]][0]))
    config.data = first.data
    exams = {name: [exam(config.examined(run), first.sets) for run in runs] for name, runs in groups.items()}
    require_folder("to", folder)
    return [Contender(name, [it.judge() for it in each]) for name, each in exams.items()], first


def _new() -> str:
    return f"outputs/compared/{datetime.now():%Y-%m-%d_%H-%M-%S}"


if __name__ == "__main__":
    main()
