"""All config keys with their defaults and docstrings, for `--help` and for configs/README.md.

`python -m mnist_seq.config.reference > configs/README.md` writes the latter.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from mnist_seq import config
from mnist_seq.config import FAMILY_CONFIGS, MODEL_CONFIGS
from mnist_seq.config.commands import COMMANDS
from mnist_seq.config.config_store import CONFIG_DIR, preset_names
from mnist_seq.config.data import VariableCountConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


class Key(NamedTuple):
    """A config key."""

    name: str
    default: Any
    doc: str


BASES: dict[type[Any], str] = {config.EncoderConfig: "all models but custom", config.DataConfig: "all scene families"}
_COUNTED = sorted(name for name, schema in FAMILY_CONFIGS.items() if issubclass(schema, VariableCountConfig))
BASES |= {VariableCountConfig: ", ".join(_COUNTED)}
CHOICES: dict[type[Any], str] = {schema: name for name, schema in (MODEL_CONFIGS | FAMILY_CONFIGS).items()}
_SINGLE: list[type[Any]] = [config.AugmentConfig, config.OptimConfig, config.LossConfig, config.TrainerConfig]
_SINGLE += [config.DevicesLauncherConfig, config.CorruptionConfig, config.RequestLimits, config.PublishedScore]
GROUPS: dict[str, tuple[type[Any], ...]] = {
    "model": (config.EncoderConfig, *MODEL_CONFIGS.values()),
    "data": (config.DataConfig, VariableCountConfig, *FAMILY_CONFIGS.values()),
    **{schema.key_prefix.rstrip("."): (schema,) for schema in _SINGLE},
}
"""Prefix of keys -> their schemas."""
_INTRO = """# Config keys and presets

Written by `make docs` from the docstrings in [mnist_seq/config](../mnist_seq/config): change those, not this file.

A preset is a file `configs/GROUP/NAME.yaml`, chosen by `GROUP=NAME`. It inherits the defaults below from its schema and
states only what it changes, with a comment why. Single keys are set by `GROUP.KEY=VALUE`. Put your own presets into a
folder with the same groups, and pass `--config-dir DIR`. The defaults below are those of the schemas; a command may
start from presets, as `train` does from `model=enc_dec data=grid`.

```bash
python -m mnist_seq.train --help                      # keys and values of a command, with these docstrings
python -m mnist_seq.train model=tiny data=grid --cfg job  # the composed config; nothing runs
```
"""


def own_keys(schema: type[Any]) -> Iterator[Key]:
    """The keys that a schema adds to its base, or whose default it changes."""
    base, docs = schema.__base__, field_docs(schema)
    inherited = {it.name: _default(it) for it in dataclasses.fields(base)} if dataclasses.is_dataclass(base) else {}
    for field in dataclasses.fields(schema):
        if field.name not in inherited or inherited[field.name] != _default(field):
            yield Key(field.name, _default(field), docs.get(field.name, ""))


def field_docs(schema: Any) -> dict[str, str]:
    """Field -> its docstring, those of the base classes included."""
    docs: dict[str, str] = {}
    for cls in reversed(schema.__mro__):
        if cls is not object:
            docs |= _class_docs(inspect.getfile(cls)).get(cls.__name__, {})
    return docs


def help_text(command: str, cfg: DictConfig, folders: list[Path]) -> str:
    """The help of a command: config groups, and keys with their composed values and docstrings.

    Args:
        folders: the user's presets, listed beside ours.
    """
    summary = ast.get_docstring(ast.parse(_source(str(Path(__file__).parent.parent / f"{command}.py")))) or ""
    groups = [*_group_lines(command, [CONFIG_DIR, *folders])]
    sections = [summary] + (["Groups (GROUP=PRESET):\n\n" + "\n".join(groups)] if groups else [])
    values = "\n".join(line for key in _composed_keys(cfg) for line in _format_key(key))
    sections.append(f"Keys (KEY=VALUE), with their present values:\n\n{values}")
    sections.append("--cfg job prints the composed config without running; --hydra-help explains Hydra's own options.")
    return "\n\n".join(sections)


def markdown() -> str:
    """All commands, groups and keys."""
    parts = [_INTRO, "## Commands\n"]
    documented: dict[type[Any], str] = {}
    for name, command in COMMANDS.items():
        if command.schema in documented:
            parts.append(f"### {name}\n\nSame keys as `{documented[command.schema]}`.\n")
        elif command.schema:
            documented[command.schema] = name
            parts.append(f"### {name}\n\n{_first_line(command.schema)}\n\n{_table(keys_at_top(command.schema))}")
    parts.append("## Groups\n")
    for prefix, schemas in GROUPS.items():
        parts.append(f"### {prefix}\n{_preset_line(prefix)}")
        for schema in schemas:
            if len(schemas) == 1 or schema in BASES:
                rows = [*(own_keys(schema) if schema is VariableCountConfig else keys_at_top(schema))]
            else:
                rows = [key for key in own_keys(schema) if key.name not in ("name", "family")]
            title = f"**{BASES.get(schema) or f'`{CHOICES[schema]}`'}**: " if len(schemas) > 1 else ""
            parts.append(f"{title}{_first_line(schema)}\n\n{_table(rows)}")
    return "\n".join(parts).rstrip() + "\n"


def keys_at_top(schema: type[Any]) -> Iterator[Key]:
    """The keys of a schema, a nested one as a single key without a default."""
    docs, hints = field_docs(schema), get_type_hints(schema)
    for field in dataclasses.fields(schema):
        nested = dataclasses.is_dataclass(hints[field.name])
        yield Key(field.name, "" if nested else _default(field), docs.get(field.name, ""))


def _composed_keys(cfg: DictConfig, prefix: str = "") -> Iterator[Key]:
    from omegaconf import DictConfig, OmegaConf

    schema = OmegaConf.get_type(cfg)
    docs = field_docs(schema) if dataclasses.is_dataclass(schema) else {}
    for name in map(str, cfg):
        node = cfg._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and len(node):
            yield from _composed_keys(node, f"{prefix}{name}.")
        else:
            container = OmegaConf.is_config(node) and not node._is_none()  # type: ignore[union-attr]
            value = OmegaConf.to_container(node) if container else node._value()  # type: ignore[union-attr]
            yield Key(f"{prefix}{name}", value, docs.get(name, ""))


def _format_key(key: Key) -> list[str]:
    return [
        f"{key.name}={_format_value(key.default)}",
        *textwrap.wrap(key.doc, 110, initial_indent="    ", subsequent_indent="    "),
    ]


def _format_value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_format_value, value))}]"
    return str(value)


def _table(rows: Iterator[Key] | list[Key]) -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for name, default, doc in rows:
        shown = f"`{_format_value(default)}`" if default != "" else ""
        lines.append(f"| `{name}` | {shown} | {doc.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else "No keys of its own.\n"


def _preset_line(prefix: str) -> str:
    names = preset_names(prefix.replace(".", "/"))
    return f"\nPresets: {', '.join(f'`{name}`' for name in names)}.\n" if names else ""


def _group_lines(command: str, folders: list[Path]) -> Iterator[str]:
    """The config groups of a command, each with its presets."""
    for group in sorted(path.relative_to(CONFIG_DIR).as_posix() for path in CONFIG_DIR.rglob("*") if path.is_dir()):
        top = group.partition("/")[0]
        if top in COMMANDS[command].groups or (COMMANDS[command].schema is config.TrainConfig and top != "search"):
            names = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
            yield f"{group}: {', '.join(sorted(names))}"


def _first_line(schema: type[Any]) -> str:
    return " ".join((inspect.getdoc(schema) or "").partition("\n\n")[0].split())


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


@cache
def _source(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


@cache
def _class_docs(path: str) -> dict[str, dict[str, str]]:
    """Class -> field -> the string behind it, of a source file."""
    docs: dict[str, dict[str, str]] = {}
    for cls in ast.parse(_source(path)).body:
        if isinstance(cls, ast.ClassDef):
            for pair in pairwise(cls.body):
                match pair:
                    case ast.AnnAssign(target=field), ast.Expr(value=ast.Constant(value=str(text))):
                        docs.setdefault(cls.name, {})[ast.unparse(field)] = " ".join(text.split())
    return docs


if __name__ == "__main__":
    print(markdown(), end="")
