"""Differences between Hydra 1.3 with OmegaConf 2.3 and Hydra 1.4 with OmegaConf 2.4.

Hydra 1.4 has no `version_base`, and its `instantiate` builds only classes on a whitelist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from mnist_seq.config.trust import find_targets

_EXECUTION_WHITELIST = ["mnist_seq.*", "hydra.*"]
"""Classes that Hydra itself builds for our commands: callbacks of a sweep, logging."""


def hydra_main(**arguments: Any) -> Callable[..., Any]:
    """`hydra.main` with the behaviour of Hydra 1.3."""
    import hydra

    if _needs_execution_whitelist():
        arguments["execution_whitelist"] = _EXECUTION_WHITELIST
    return hydra.main(**arguments, **_version_base())


@contextmanager
def initialize_config_dir(folder: Path) -> Iterator[None]:
    """`hydra.initialize_config_dir` that restores the state of an enclosing Hydra program."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.version import VersionBase

    outer, base = GlobalHydra.instance().hydra, VersionBase.instance().getbase()
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(folder), **_version_base()):
            yield
    finally:
        GlobalHydra.instance().hydra = outer
        VersionBase.instance().version_base = base


def setup_job_process() -> None:
    """Set up Hydra in the process of a job, as `hydra_main` does in that of the command."""
    from hydra import version
    from hydra.core.utils import setup_globals

    setup_globals()
    for base in _version_base().values():
        version.setbase(base)


def instantiate(values: dict[str, Any]) -> Any:
    """`hydra.utils.instantiate` of a `_target_` and those within it, which the caller has checked."""
    from hydra.utils import instantiate as build

    if _needs_execution_whitelist():
        return build(values, _execution_whitelist_=list(find_targets(values)))
    return build(values)


def register_resolver(name: str, resolver: Callable[..., Any], use_cache: bool = False) -> None:
    """Register `${name:...}` for configs, in place of any resolver of that name."""
    from omegaconf import OmegaConf

    # OmegaConf 2.3 has a `register_resolver` too, that of 1.x, which has neither `replace` nor `use_cache`.
    current = "use_cache" in signature(OmegaConf.register_resolver).parameters
    register: Any = OmegaConf.register_resolver if current else OmegaConf.register_new_resolver
    register(name, resolver, replace=True, use_cache=use_cache)


def _version_base() -> dict[str, str]:
    return {} if _needs_execution_whitelist() else {"version_base": "1.3"}


def _needs_execution_whitelist() -> bool:
    import hydra.utils

    return hasattr(hydra.utils, "execution_whitelist")
