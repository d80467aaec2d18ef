"""Sweeps that Hydra would not run as they are meant: with a traceback, not at all, or as one run, without a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mnist_seq.config.validation import check
from mnist_seq.errors import UserError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader


def require_finite_sweep(overrides: list[str], config_loader: ConfigLoader | None = None) -> None:
    """Refuse a sweep over what is not a list of values, or is an empty one.

    Args:
        overrides: as they are written, those of a sweep among them.
        loader: knows what `glob` stands for; without it that is taken for granted.

    Raises:
        UserError: naming the override.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob, RangeSweep
    from hydra.errors import HydraException

    parser = OverridesParser.create(config_loader=config_loader)
    for written in overrides:
        try:
            (override,) = parser.parse_overrides([written])
        except HydraException as problem:
            said = str(problem).partition("See http")[0].splitlines()
            raise UserError(f"{written} cannot be read: {' '.join(line.strip() for line in said)}") from problem
        if not override.is_sweep_override():
            continue
        check(
            override.is_discrete_sweep(),
            f"{written} has no end of values: name some, {override.key_or_group}=A,B, "
            "or search the range with python -m mnist_seq.search",
        )
        values: Any = override.value()
        if isinstance(values, Glob) and config_loader is None:
            continue
        check(not isinstance(values, RangeSweep) or values.step != 0, f"{written} has a step of 0: choose another")
        check(
            next(iter(override.sweep_string_iterator()), None) is not None,
            f"{written} stands for no value, and a sweep over it has no job: name what is to be swept",
        )


def require_multirun(params: Mapping[str, object] | None, overrides: list[str]) -> None:
    """Refuse to train once what is meant as a sweep: Hydra reads an experiment's sweeper.params only under -m, and only
    where that experiment itself is not swept over.

    Args:
        params: `hydra.sweeper.params` of this run.
        overrides: what this run was given; under -m, a value for each of those keys.
    """
    given = {override.lstrip("+~").partition("=")[0] for override in overrides}
    missing = sorted(params.keys() - given) if params else []
    if missing:
        raise UserError(
            f"this experiment is a sweep over {', '.join(missing)}: run it with -m, one such experiment at a time, "
            f"or choose a value ({missing[0]}=...)"
        )
