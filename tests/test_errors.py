"""Which errors end in one line, and which keep their traceback."""

from __future__ import annotations

import io
import pickle
import signal
import sys
from pathlib import Path

import pytest

from mnist_seq import cli
from mnist_seq.errors import CannotWriteError, DivergedError, DownloadError, Interrupted, NotFoundError, UserError
from mnist_seq.run_dir import FAILURE_FILE

BUGS = (ValueError("x"), OSError("x"), FileNotFoundError("x"), ConnectionError("x"), RuntimeError("x"), TypeError("x"))
MISTAKES = (UserError, NotFoundError, DownloadError, CannotWriteError, DivergedError)


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_user_error_ends_in_one_line_and_exit_code_1(
    kind: type[UserError], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as left, cli.report_errors():
        raise kind("key=value is wrong:\n choose another")
    assert left.value.code == 1
    assert capsys.readouterr().err == "mnist_seq: key=value is wrong: choose another\n"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
def test_a_bug_keeps_its_traceback_whatever_its_class(bug: Exception) -> None:
    with pytest.raises(type(bug)) as raised, cli.report_errors():
        raise bug
    assert raised.value is bug


def test_only_the_class_makes_an_error_a_user_error_or_a_signal(tmp_path: Path) -> None:
    class DivergedError(Exception):
        signum = signal.SIGTERM

    with pytest.raises(DivergedError), cli.report_errors():
        raise DivergedError
    with cli.isolate_job_failure(tmp_path):
        raise DivergedError("a bug that carries a signum")
    assert "Traceback" in (tmp_path / FAILURE_FILE).read_text()


def test_an_interruption_exits_with_128_plus_its_signal_and_can_be_pickled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM, "stopped")))
    with pytest.raises(SystemExit) as left, cli.report_errors():
        raise stopped
    assert left.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "mnist_seq: stopped\n"


def test_unencodable_output_is_escaped_and_the_stream_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with cli.escape_unencodable():
        print("caf\N{LATIN SMALL LETTER E WITH ACUTE} \udce9 \N{EM DASH}")
    stream.flush()
    assert stream.buffer.getvalue() == b"caf\\xe9 \\udce9 \\u2014\n"  # type: ignore[attr-defined]
    with pytest.raises(UnicodeEncodeError):
        print("\N{EM DASH}")
