"""What Hydra could not compose, said in one line with the way out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from mnist_seq.errors import one_line

_MAX_KEYS = 30
"""Most names that are listed to choose from."""


def explain(error: Exception) -> str:
    """Say in one line why Hydra could not compose a config: the override, what is wrong with it, and what is possible.

    Args:
        error: an exception of Hydra or OmegaConf.
    """
    from hydra.errors import MissingConfigException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name} is unknown: {_suggest(name, error.options)}"
    match = re.search(r"use \+(.*)$|override (.*)$", str(error))
    override = match and (match[1] or match[2])
    if override and isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        parent, _, key = str(cause.full_key).rpartition(".")
        keys = [str(it) for it in cause.parent_node or () if not str(it).startswith("_")]
        if keys:
            return f"{override} is unknown: {parent or 'this command'} has no key {key}; {_suggest(key, keys)}"
        return f"{override} has no effect, since {parent} is not chosen: add {parent}=PRESET"
    if override and isinstance(cause, ValidationError):
        return f"{override} is invalid: {str(cause).partition(chr(10))[0]}"
    return one_line(error) + (f" ({str(cause).partition(chr(10))[0]})" if cause else "")


def _suggest(name: str, options: Sequence[str]) -> str:
    """Name the option that a misspelt name may mean, else all options."""
    similar = difflib.get_close_matches(name, options, n=1, cutoff=0.7)
    if similar:
        return f"did you mean {similar[0]}?"
    return f"choose from {', '.join(options)}" if len(options) <= _MAX_KEYS else "--help lists the options"
