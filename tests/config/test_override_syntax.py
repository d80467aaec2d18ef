"""What is printed to be pasted comes back as what was meant, through the shell and through Hydra."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mnist_seq.compose_config import compose
from mnist_seq.config.override_syntax import format_command, shell_override

PATHS = [
    *("outputs/2026-01-31/12-00-00", "/abs/run-2", "./grid", "pretrained:grid", "a dir/with [x], and=signs", "it's"),
    *('say "hi"', "back\\slash", "ends in \\", 'odd \\" mix', "${oc.env:HOME}", "\\${x}", "{a:b}", "(x)", "1e3", "007"),
    *("null", "True", "nan", ".5", "-1", "ü/ñ", "~/x", "a#b", "*?", "  blank  ", "a:b", "$HOME", "!x", "%s", "a;b&c"),
]


@pytest.mark.parametrize("path", PATHS)
def test_a_printed_path_survives_shell_and_hydra(path: str) -> None:
    *words, given_back, split = shlex.split(format_command("evaluate", run=path, split="test"))
    assert words == ["python", "-m", "mnist_seq.evaluate"]
    assert split == "split=test"
    assert compose("evaluate", [given_back])[0].run == path
    (behind,) = shlex.split(shell_override("hydra.run.dir", Path(path)))
    assert compose("train", [behind])[1] == Path(path)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1))
@example("a\\\\")
@settings(max_examples=200, deadline=None)
def test_any_text_survives_hydras_parser(text: str) -> None:
    (word,) = shlex.split(shell_override("run", text))
    if "${" in text:  # OmegaConf, not the parser, takes the backslashes before it away
        return
    value = OverridesParser.create().parse_override(word).value()
    assert value == text
    assert isinstance(value, str)


@pytest.mark.parametrize("path", ["outputs/2026-01-31/12-00-00", "/abs/run-2", "pretrained:grid"])
def test_an_ordinary_path_is_printed_without_quotes(path: str) -> None:
    assert format_command("train", resume=path) == f"python -m mnist_seq.train resume={path}"
