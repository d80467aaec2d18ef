"""Search for what reads best: `python -m mnist_seq.search search=grid_small trials=40`, on one machine or many."""

from __future__ import annotations

import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import command
from mnist_seq.command_line import command_line
from mnist_seq.config import SearchConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from optuna import Study
    from optuna.trial import FrozenTrial
    from rich.console import Console


def main() -> None:
    command.run("search", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    import optuna
    from rich.console import Console

    from mnist_seq.sweeps import slots
    from mnist_seq.sweeps.search import Search
    from mnist_seq.sweeps.space import require_trainable

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats have been so since 2021
    config, console = command.typed(cfg, SearchConfig), Console(highlight=False, soft_wrap=True)
    require_trainable(config)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    worker = Search(config, lambda study, trial: console.print(_line(study, trial), markup=False))
    console.print(f"{config.study}: {config.trials} trials, runs in {config.to}", markup=False)
    try:
        worker.run(slots.of(config.devices))
    except KeyboardInterrupt:
        command.leave("interrupted: the same command goes on", 128 + signal.SIGINT)
    _show(worker.study, config, console)


def _line(study: Study, trial: FrozenTrial) -> str:
    """How a trial ended."""
    score = f"{trial.value:.2%}" if trial.state.name == "COMPLETE" else trial.state.name.lower()
    values = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in trial.params.items()}
    return f"trial {trial.number}: {score}  " + " ".join(f"{key}={value}" for key, value in values.items())


def _show(study: Study, config: SearchConfig, console: Console) -> None:
    """The best trials, pictures of all, and what to do next; exit code 1 where some failed."""
    from rich.markup import escape

    from mnist_seq.figures import pages, tables
    from mnist_seq.run import Run
    from mnist_seq.sweeps.search import asked

    last = asked(study.trials).values()
    best, pruned, failed = ([it for it in last if it.state.name == state] for state in ("COMPLETE", "PRUNED", "FAIL"))
    best.sort(key=lambda it: -(it.value or 0))
    title = f"{config.study}: {len(best)} trained to the end, {len(pruned)} pruned, {len(failed)} failed"
    console.print(tables.trials([(it.number, it.value or 0, it.params) for it in best[:10]], escape(title)))
    if best:
        if notice := Run(best[0].user_attrs["run"]).metrics.get("notice"):
            console.print(f"[bold red]{escape(notice)}")
        for page in pages.search(study, Path(config.to)):
            console.print(f"picture: {page}", markup=False)
        console.print(f"next: {command_line('evaluate', run=best[0].user_attrs['run'], split='test')}", markup=False)
    for it in failed:
        console.print(f"[red]failed:[/] trial {it.number}, see {escape(str(it.user_attrs.get('run')))}")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
