"""Refuse sweeps that Hydra would end with a traceback or silently run as a single job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mnist_seq.config.override_syntax import split_override
from mnist_seq.config.validation import check
from mnist_seq.errors import UserError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader


def require_finite_sweep(overrides: list[str], config_loader: ConfigLoader | None = None) -> None:
    """Refuse a sweep without values, or over a continuous range.

    Args:
        overrides: all overrides of the command.
        config_loader: resolves `glob(...)`, which is not checked without it.

    Raises:
        UserError: names the override.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob, RangeSweep
    from hydra.errors import HydraException

    parser = OverridesParser.create(config_loader=config_loader)
    for text in overrides:
        try:
            (override,) = parser.parse_overrides([text])
        except HydraException as problem:
            lines = str(problem).partition("See http")[0].splitlines()
            raise UserError(f"{text} cannot be read: {' '.join(line.strip() for line in lines)}") from problem
        if not override.is_sweep_override():
            continue
        check(
            override.is_discrete_sweep(),
            f"{text} is continuous: list values, {override.key_or_group}=A,B, "
            "or search the range with python -m mnist_seq.search",
        )
        values: Any = override.value()
        if isinstance(values, Glob) and config_loader is None:
            continue
        check(not isinstance(values, RangeSweep) or values.step != 0, f"{text} has a step of 0: choose another step")
        check(next(iter(override.sweep_string_iterator()), None) is not None, f"{text} has no values: list some")


def require_multirun(params: Mapping[str, object] | None, overrides: list[str]) -> None:
    """Refuse to run an experiment that is a sweep as a single job.

    Hydra reads an experiment's sweeper.params only under -m, and only where that experiment itself is not swept over.

    Args:
        params: `hydra.sweeper.params` of this job.
        overrides: the overrides of this job; under -m, a value for each of those keys.

    Raises:
        UserError: a swept key has no value.
    """
    given = {split_override(override)[1] for override in overrides}
    missing = sorted(params.keys() - given) if params else []
    if missing:
        raise UserError(
            f"this experiment is a sweep over {', '.join(missing)}: run it with -m, one such experiment at a time, "
            f"or choose a value ({missing[0]}=...)"
        )
