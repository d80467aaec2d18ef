"""Checks that configs make of their values: the rules of their field types, and `check` for what concerns several."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, ClassVar, get_args, get_type_hints

from mnist_seq.config.field_types import Rule, one_of
from mnist_seq.errors import UserError


class Validated:
    """Base of the schemas: refuses values that break the rules of their annotations.

    Raises:
        UserError: in one line that names the key, its value and the way out.
    """

    key_prefix: ClassVar[str] = ""
    """What precedes the fields in the names of their keys, such as `model.`."""

    def __post_init__(self) -> None:
        for field, rule, is_optional in _rules(type(self)):  # type: ignore[arg-type]
            value, or_null = getattr(self, field), ", or null" if is_optional else ""
            holds = (is_optional and value is None) or rule.holds(value)
            check(holds, f"{self.key_prefix}{field}={value} {rule.message}{or_null}")


@cache
def _rules(schema: type[Any]) -> list[tuple[str, Rule, bool]]:
    """Each rule with its field, and whether that may be None."""
    return [
        (field, rule, type(None) in get_args(hint))
        for field, hint in get_type_hints(schema, include_extras=True).items()
        for part in (hint, *get_args(hint))
        for rule in getattr(part, "__metadata__", ())
    ]


def check(condition: bool, message: str) -> None:
    """Refuse an invalid config.

    Args:
        message: one line that names the key, its value and the way out.

    Raises:
        UserError: the condition does not hold.
    """
    if not condition:
        raise UserError(message)


def check_choice(key: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a value that is not one of a closed set.

    Raises:
        UserError: names the choices.
    """
    rule = one_of(choices)
    check(rule.holds(value), f"{key}={value} {rule.message}")
