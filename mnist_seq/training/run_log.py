"""run.log: everything that is logged while a run trains."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


class _RunLogHandler(logging.FileHandler):
    """Ignores write errors: on a full disk, a traceback per log line would hide the run's own error."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Write log records to a file too: ours from INFO on, Lightning's, and Python's warnings."""
    handler = _RunLogHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("mnist_seq", "lightning.pytorch", "py.warnings")]
    with ExitStack() as restore:
        restore.callback(handler.close)
        if not loggers[0].hasHandlers() and logging.lastResort:  # otherwise our warnings would reach the file only
            restore.callback(loggers[0].removeHandler, logging.lastResort)
            loggers[0].addHandler(logging.lastResort)
        for logger in loggers:
            restore.callback(logger.removeHandler, handler)
            logger.addHandler(handler)
        restore.callback(loggers[0].setLevel, loggers[0].level)
        loggers[0].setLevel(logging.INFO)
        yield
