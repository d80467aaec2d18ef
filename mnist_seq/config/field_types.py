"""Types of config fields that state the rule for their values, which `validation.Validated` checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, NamedTuple


class Rule(NamedTuple):
    """A rule for a field, named in its annotation: `Annotated[int, at_least(1)]`."""

    holds: Callable[[Any], bool]
    message: str
    """What stands behind `key=value` where it does not hold."""


def at_least(low: float) -> Rule:
    """Numbers from `low`."""
    return Rule(lambda value: value >= low, f"must be at least {low}")


def within(low: float, high: float) -> Rule:
    """Numbers from `low` to `high`, both included."""
    return Rule(lambda value: low <= value <= high, f"must lie in {low}..{high}")


def one_of(choices: Iterable[str]) -> Rule:
    """One of a closed set."""
    choices = list(choices)
    return Rule(lambda value: value in choices, f"is unknown: choose from {', '.join(choices)}")


PositiveInt = Annotated[int, at_least(1)]
NonNegativeInt = Annotated[int, at_least(0)]
PositiveFloat = Annotated[float, Rule(lambda value: 0 < value < math.inf, "must be above 0, and finite")]
Fraction = Annotated[float, within(0, 1)]
Below1 = Annotated[float, Rule(lambda value: 0 <= value < 1, "must be at least 0 and below 1")]
Seed = Annotated[int, within(0, 2**31 - 1)]
Device = Annotated[str, one_of(("auto", "cpu", "cuda", "mps"))]
Split = Annotated[str, one_of(("val", "test"))]
