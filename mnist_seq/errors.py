"""Errors that may end in one line: the user asked for what cannot be done, and the message says what to do instead.

A command prints these without a traceback. Every other exception is a bug, of ours or of the user's own code, and keeps
its traceback.
"""

from __future__ import annotations

import signal


class UserError(ValueError):
    """A mistake in what was asked: the message names the key, its value and the way out, in one line."""


class NotFoundError(UserError, FileNotFoundError):
    """A file or directory that the user named does not exist, or does not hold what it should."""


class DownloadError(UserError, ConnectionError):
    """Data that are not on this machine cannot be downloaded."""


class CannotWriteError(UserError, OSError):
    """A file or directory cannot be written: no permission, or no space left."""


class DivergedError(UserError):
    """The loss is no longer a finite number."""


class Interrupted(Exception):
    """A signal asked the process to stop, and what was done so far is saved; the exit code is 128 + its number.

    Args:
        signum: the signal's number.
        message: what was saved, and how to go on.
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum = signum

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int, str]]:
        return type(self), (self.signum, str(self))

    @property
    def name(self) -> str:
        """The signal's name, such as SIGTERM."""
        return signal.Signals(self.signum).name


def one_line(error: BaseException) -> str:
    """An exception's message in one line; its class name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
