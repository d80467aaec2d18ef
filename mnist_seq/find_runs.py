"""Find the run that a command means: the newest under outputs/, or that of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from mnist_seq.config.override_syntax import shell_override
from mnist_seq.config.validation import check
from mnist_seq.errors import NotFoundError
from mnist_seq.run_dir import Run


def resolve_run(run: str | None) -> str:
    """Resolve `run=null` and `run=latest` to the newest finished run; other values stay.

    Raises:
        NotFoundError: no finished run under outputs/.
        UserError: the working directory holds a path called latest.
    """
    if run not in (None, "latest"):
        return str(run)
    if run == "latest":
        _check_not_a_path("run")
    return str(latest_finished())


def resolve_resume(resume: str) -> Path:
    """The run directory that `resume=` names, by itself or by its last.ckpt.

    Raises:
        UserError: another checkpoint than last.ckpt.
    """
    path = Path(resume)
    if not path.is_file() or path.parent.name != "checkpoints":
        return path
    run_dir = path.parent.parent
    check(
        path.name == "last.ckpt",
        f"resume={path}: a run resumes from its last.ckpt, {shell_override('resume', run_dir)}; "
        f"to start another run from these weights, {shell_override('init_from', path)}",
    )
    return run_dir


def latest_finished(outputs: Path = Path("outputs")) -> Path:
    """The training run that finished last; exported models do not count.

    Raises:
        NotFoundError: there is none.
    """
    for weights in _newest_first(outputs, "weights.safetensors"):
        if (run := Run(weights.parent)).exists and run.finished:
            return run.path
    raise NotFoundError(f"no trained run under {outputs.resolve()}: train one, or name a run directory")


def latest_unfinished(outputs: Path = Path("outputs")) -> Path:
    """The training run with the newest checkpoint among those that have not finished since.

    Raises:
        NotFoundError: there is none.
        UserError: the working directory holds a path called latest.
    """
    _check_not_a_path("resume")
    for checkpoint in _newest_first(outputs, "last.ckpt"):
        run = Run(checkpoint.parent.parent)
        finished = run.finished and run.weights.stat().st_mtime >= checkpoint.stat().st_mtime
        if run.last_checkpoint == checkpoint and run.exists and not finished:
            return run.path
    raise NotFoundError(f"resume=latest: no run under {outputs.resolve()} stopped before its end: name a run directory")


def _check_not_a_path(key: str) -> None:
    check(
        not Path("latest").exists(), f"{key}=latest is ambiguous: write {key}=./latest for the path of that name here"
    )


def _newest_first(outputs: Path, filename: str) -> list[Path]:
    return sorted(outputs.rglob(filename), key=lambda path: path.stat().st_mtime, reverse=True)
