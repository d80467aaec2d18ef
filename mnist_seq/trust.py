"""Which code a saved run may name: what our own presets name; anything else only where the user said `trust=`.

What the user writes on a command line or into presets is the user's own, and is not asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from mnist_seq import presets
from mnist_seq.errors import UserError

Trust = bool | str | None
"""True for whatever a run names; a module, for what is defined in it; None or False for nothing of others."""
_EARLIER = ("lightning.pytorch.callbacks.EarlyStopping", "lightning.pytorch.callbacks.EMAWeightAveraging")
"""Of presets of earlier versions, whose runs can still be resumed."""
GROUPS = ("callbacks", "logger")


@cache
def _ours() -> frozenset[str]:
    """Exact names: a prefix would let in whatever callable else is there, with arguments of the run's choice."""
    stated = (presets.stated(group, name)[0] for group in GROUPS for name in presets.names(group))
    return frozenset(_EARLIER).union(*(targets(values) for values in stated))


def targets(values: Any) -> Iterator[str]:
    """Every `_target_` within plain values, however deep."""
    if isinstance(values, dict):
        if "_target_" in values:
            yield str(values["_target_"])
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        for value in values:
            yield from targets(value)


def trusts(target: str, trust: Trust) -> bool:
    """Whether a target may be imported and called."""
    return trust is True or (isinstance(trust, str) and target.startswith(f"{trust}."))


def require_trusted(whose: object, named: Iterable[str], trust: Trust, own: Iterable[str] = ()) -> None:
    """Refuse a saved run that names code of others.

    Args:
        whose: what is opened.
        named: its targets.
        own: targets that the user names too, now.

    Raises:
        UserError: one of them is not trusted.
    """
    known = _ours().union(own)
    for target in named:
        if target not in known and not trusts(target, trust):
            raise UserError(refusal(whose, target))


def refusal(whose: object, target: str) -> str:
    """Why a target does not run, and the way out."""
    return f"{whose} names {target}, and to open it runs that code: if you trust it, add trust=true"
