"""Which code a saved run may name: what our own presets name; anything else only where the user said `trust=`.

What the user writes on a command line or into presets is the user's own, and is not asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from mnist_seq.config import config_store
from mnist_seq.errors import UserError

Trust = bool | str | None
"""True for whatever a run names; a module, for what is defined in it; None or False for nothing of others."""
_FORMER_TARGETS = ("lightning.pytorch.callbacks.EarlyStopping", "lightning.pytorch.callbacks.EMAWeightAveraging")
"""Of presets of earlier versions, whose runs can still be resumed."""
TARGET_GROUPS = ("callbacks", "logger")


@cache
def _builtin_targets() -> frozenset[str]:
    """Exact names: a prefix would let in whatever callable else is there, with arguments of the run's choice."""
    stated = (
        config_store.load_preset(group, name)[0] for group in TARGET_GROUPS for name in config_store.preset_names(group)
    )
    return frozenset(_FORMER_TARGETS).union(*(find_targets(values) for values in stated))


def find_targets(values: Any) -> Iterator[str]:
    """Every `_target_` within plain values, however deep."""
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
    """Refuse a saved run that names code of others.

    Args:
        whose: what is opened.
        named: its targets.
        own: targets that the user names too, now.

    Raises:
        UserError: one of them is not trusted.
    """
    known = _builtin_targets().union(user_targets)
    for target in targets:
        if target not in known and not is_trusted(target, trust):
            raise UserError(untrusted_message(source, target))


def untrusted_message(source: object, target: str) -> str:
    """Why a target does not run, and the way out."""
    return f"{source} names {target}, and to open it runs that code: if you trust it, add trust=true"
