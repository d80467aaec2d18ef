"""A callback for timing how long a run takes to begin."""

from __future__ import annotations

import os
from typing import Any

from lightning.pytorch.callbacks import Callback


class ExitAfterFirstStep(Callback):
    """Ends the process, without a word, when the first batch has been taught."""

    def on_train_batch_end(self, *_: Any) -> None:
        os._exit(0)
