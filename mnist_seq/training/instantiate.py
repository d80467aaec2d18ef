"""Objects that a config describes by `_target_`: callbacks and loggers."""

from __future__ import annotations

import inspect
from typing import Any

from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object
from lightning.fabric.utilities.exceptions import MisconfigurationException

from mnist_seq.config.hydra_compat import instantiate
from mnist_seq.config.validation import check
from mnist_seq.errors import UserError

_INSTANTIATE_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
"""Keys that `hydra.utils.instantiate` interprets itself."""


def instantiate_targets(configs: dict[str, Any] | None, key: str, **defaults: Any) -> list[Any]:
    """Build the objects of a config group.

    Args:
        configs: name -> the object's `_target_` and arguments; None is left out.
        key: the group's key, for errors.
        defaults: arguments that an object gets if its signature has them and its config does not set them.

    Raises:
        UserError: a target that cannot be found or built.
    """
    objects = []
    for name, values in (configs or {}).items():
        if values is None:
            continue
        has_target = isinstance(values, dict) and "_target_" in values
        check(has_target, f"{key}.{name} has no _target_: name the class to build")
        try:
            signature = inspect.signature(get_object(values["_target_"]))
            extra = {it: value for it, value in defaults.items() if it in signature.parameters and it not in values}
            signature.bind(**{it: value for it, value in (values | extra).items() if it not in _INSTANTIATE_KEYS})
        except (HydraException, ImportError, TypeError, ValueError) as error:
            raise UserError(f"{key}.{name} cannot be built: {str(error).splitlines()[0]}") from error
        try:
            objects.append(instantiate(values | extra))
        except InstantiationException as error:
            if isinstance(error.__cause__, (UserError, MisconfigurationException)):
                raise UserError(f"{key}.{name} cannot be built: {error.__cause__}") from error
            raise
    return objects
