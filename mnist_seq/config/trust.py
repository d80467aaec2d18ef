"""Which code a saved run may name: that of our own presets; anything else only where the user said `trust=`.

What the user types on a command line or writes into presets is trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from mnist_seq.config.field_types import Rule
from mnist_seq.errors import UserError


def _is_trust(trust: Any) -> bool:
    return trust is None or isinstance(trust, bool) or all(part.isidentifier() for part in str(trust).split("."))


Trust = Annotated[bool | str | None, Rule(_is_trust, "must be true, false or the name of a module")]
"""True trusts any code, a module's name what that module defines, None or False nothing from outside the package."""
TARGET_GROUPS = ("callbacks", "logger")
"""Config groups whose presets name classes by `_target_`."""
BUILT_IN_TARGETS: frozenset[str] = frozenset(
    {
        "lightning.pytorch.callbacks.EMAWeightAveraging",
        "lightning.pytorch.callbacks.EarlyStopping",
        "lightning.pytorch.loggers.TensorBoardLogger",
        "mnist_seq.training.callbacks.GradientHistograms",
        "mnist_seq.training.callbacks.StopAtScore",
        "mnist_seq.training.wandb_logger.wandb_logger",
        "mnist_seq.training.weight_averaging.EMAWeightAveraging",
    }
)
"""Every `_target_` of our presets, and of those of earlier versions, whose runs can still be resumed.

Exact names: a prefix would admit any callable of a module, with arguments of the run's choice.
"""


def find_targets(values: Any) -> Iterator[str]:
    """Every `_target_` in nested plain values."""
    if isinstance(values, dict):
        if "_target_" in values:
            yield str(values["_target_"])
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        for value in values:
            yield from find_targets(value)


def is_trusted(target: str, trust: Trust) -> bool:
    """Whether a target may be imported and called."""
    return trust is True or (isinstance(trust, str) and target.startswith(f"{trust}."))


def check_trusted(source: object, targets: Iterable[str], trust: Trust, user_targets: Iterable[str] = ()) -> None:
    """Refuse to open a saved run that names untrusted code.

    Args:
        source: the run or file, for the error message.
        targets: the targets that it names.
        user_targets: targets that the user named on this command line.

    Raises:
        UserError: one of them is not trusted.
    """
    known = BUILT_IN_TARGETS.union(user_targets)
    for target in targets:
        if target not in known and not is_trusted(target, trust):
            raise UserError(untrusted_message(source, target))


def untrusted_message(source: object, target: str) -> str:
    """The error message for an untrusted target."""
    return f"{source} names {target}, and opening it runs that code: if you trust it, add trust=true"
