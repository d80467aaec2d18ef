"""What a run leaves on a disk that is full."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import pytest

import mnist_seq
from mnist_seq.atomic_io import atomic_path, atomic_write_text
from mnist_seq.errors import CannotWriteError, UserError
from mnist_seq.inference import weights
from mnist_seq.run_dir import Run
from mnist_seq.training import callbacks
from tests.conftest import TINY


@contextmanager
def files_of_at_most(size: int | None = None) -> Iterator[None]:
    """Writing beyond so many bytes ends as it does where there is no space left; None changes nothing until the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES])
def test_a_failed_write_leaves_the_old_file(number: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def write() -> None:
        with atomic_path(path) as beside:
            beside.write_text("half")
            raise OSError(number, "reason")

    with pytest.raises(CannotWriteError, match=f"{path} cannot be written .*free space in {tmp_path}, or choose"):
        write()
    assert [it.name for it in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "before"


def test_a_read_only_file_system_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, removing a file that does not exist is an error too."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(CannotWriteError, match="Read-only file system"), atomic_path(tmp_path / "file"):
        refuse()


def test_other_errors_while_writing_keep_their_class(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as found, atomic_path(tmp_path / "file"):
        (tmp_path / "gone").read_text()
    assert not isinstance(found.value, CannotWriteError)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_ends_in_one_line_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run")

    def fill(self: Any, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 7:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))

    with monkeypatch.context() as full, files_of_at_most():
        full.setattr(callbacks.LogPredictions, "on_train_batch_end", fill, raising=False)
        message = f"free space in {run.checkpoints}.*the last good checkpoint is .*last.ckpt.*resume={run.path}"
        with pytest.raises(CannotWriteError, match=message) as raised:
            mnist_seq.fit(*TINY, "data=single", "report=false", f"hydra.run.dir={run.path}")
    assert "\n" not in str(raised.value)
    assert weights.load_checkpoint(run.last_checkpoint)["global_step"] == 5
    assert {path.name for path in run.checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert mnist_seq.fit(f"resume={run.path}").metrics["steps"] == 12


def test_a_run_that_cannot_start_names_the_reason(tmp_path: Path) -> None:
    run, config = Run(tmp_path / "run"), mnist_seq.compose(*TINY)
    with (
        files_of_at_most(9),
        pytest.raises(CannotWriteError, match=r"config.yaml cannot be written \(File"),
    ):
        run.create(config)
    assert not run.exists


def test_half_written_checkpoints_are_removed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.checkpoints.mkdir()
    for name in (".last.ckpt.123", ".best.ckpt.4", "last.ckpt", "best.ckpt"):
        (run.checkpoints / name).touch()
    run.remove_partial_checkpoints()
    assert {path.name for path in run.checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}


def test_a_failed_write_of_weights_leaves_the_old_weights(tmp_path: Path, tiny_run: Run) -> None:
    model, _ = weights.load(tiny_run.path)
    path = tmp_path / "weights.safetensors"
    atomic_write_text(path, "before")
    with files_of_at_most(5_000), pytest.raises(CannotWriteError, match=f"{path} cannot be written"):
        weights.save(model, path)
    assert [it.name for it in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"


@pytest.mark.parametrize("text", ["", '{"steps": 3', "[]", "\0\0"])
def test_damaged_metrics_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(UserError, match=f"^{tmp_path}/metrics.json is damaged: restore it, or train anew"):
        _ = Run(tmp_path).metrics


def test_metrics_csv_on_a_full_disk_ends_in_one_line(tmp_path: Path) -> None:
    from mnist_seq.training.csv_logger import ResumableCSVLogger

    table = ResumableCSVLogger(tmp_path / "metrics.csv")
    table.log_metrics({"loss": 1.0}, 1)
    before = table.path.read_bytes()
    with files_of_at_most(len(before)), pytest.raises(CannotWriteError, match=r"metrics.csv cannot be written"):
        table.log_metrics({"loss": 2.0}, 2)
    assert table.path.read_bytes() == before
