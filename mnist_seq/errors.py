"""Errors that a command ends in one line: mistakes of the user, with the way out.

Every other exception is a bug, of ours or of the user's own code, and keeps its traceback.
"""

from __future__ import annotations

import signal


class UserError(ValueError):
    """A mistake of the user: the message names the key, its value and the way out, in one line."""


class NotFoundError(UserError, FileNotFoundError):
    """A file or directory does not exist, or does not hold what it should."""


class DownloadError(UserError, ConnectionError):
    """A download failed."""


class CannotWriteError(UserError, OSError):
    """A file or directory cannot be written: no permission, or no space left."""


class DivergedError(UserError):
    """The loss became NaN or infinite."""


class Interrupted(Exception):
    """A signal stopped the process after it saved its state; the exit code is 128 + the signal's number.

    Args:
        signum: the signal's number.
        message: what was saved, and how to resume.
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
