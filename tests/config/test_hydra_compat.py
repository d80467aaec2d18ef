"""The versions of Hydra and OmegaConf that are allowed: what they will refuse one day is not asked of them."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import hydra.utils
import pytest
from omegaconf import OmegaConf

from mnist_seq.compose_config import compose
from mnist_seq.config import hydra_compat
from mnist_seq.training.instantiate import instantiate_targets
from tests.conftest import TINY
from tests.e2e.background_command import environment


def test_a_config_is_composed_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compose("train", ["model=tiny", "data=single"])


def test_a_resolver_gets_the_arguments_of_its_signature() -> None:
    seen = []

    def count(words: Sequence[str]) -> int:
        seen.append(list(words))
        return len(words)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hydra_compat.register_resolver("mnist_seq.test_count", count)
        assert OmegaConf.create({"words": ["a", "b"], "many": "${mnist_seq.test_count:${words}}"}).many == 2
    assert seen == [["a", "b"]]


def test_nested_targets_are_built_without_a_warning() -> None:
    group = {
        "outer": {"_target_": "collections.ChainMap", "_args_": [{"_target_": "collections.OrderedDict", "one": 1}]}
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (built,) = instantiate_targets(group, "callbacks")
    assert built["one"] == 1


@pytest.mark.skipif(not hasattr(hydra.utils, "execution_whitelist"), reason="this Hydra asks for no whitelist")
def test_only_the_named_target_is_built() -> None:
    from hydra.errors import InstantiationException

    with hydra.utils.execution_whitelist("mnist_seq.*"), pytest.raises(InstantiationException):
        hydra.utils.instantiate({"_target_": "collections.OrderedDict"})
    with hydra.utils.execution_whitelist("mnist_seq.*"):
        assert hydra_compat.instantiate({"_target_": "collections.OrderedDict", "one": 1}) == {"one": 1}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "devices"])
def test_a_sweep_runs_without_a_warning_of_hydra_or_omegaconf(launcher: str, tmp_path: Path) -> None:
    asked = ("-m", "seed=0,1", "model=tiny", "data=single", "callbacks=ema", *TINY, "hydra.sweep.dir=sweep")
    done = subprocess.run(
        [sys.executable, "-W", "always", "-m", "mnist_seq.train", *asked, f"hydra/launcher={launcher}"],
        cwd=tmp_path,
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    message = done.stderr + "".join(path.read_text() for path in tmp_path.glob("sweep/*/output.txt"))
    deprecated = ("version_base", "whitelist", "register_new_resolver", "Implicit conversion", "annotation")
    assert [word for word in deprecated if word in message] == []
