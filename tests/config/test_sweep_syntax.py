"""A sweep that Hydra's basic sweeper cannot run is refused in a line, and no job begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path

from mnist_seq.config.config_store import CONFIG_DIR
from mnist_seq.config.sweep_syntax import require_finite_sweep
from mnist_seq.errors import UserError
from tests.e2e.forked_command import run

REFUSED = {
    "optim.lr=interval(1e-4,1e-2)": "is continuous: list values, optim.lr=A,B, or search",
    "optim.lr=tag(a,interval(1,2))": "is continuous",
    "optim.lr=glob(*)": "has no values",
    "callbacks=glob(zz*)": "has no values",
    "optim.lr=range(1,0)": "has no values",
    "optim.lr=range(0,1,0)": "has a step of 0",
    "optim.lr=range(0.5,1,0.0)": "has a step of 0",
    "optim.lr=range()": "missing a required argument: 'start'",
    "optim.lr=choice()": "empty choice is not legal",
    "seed=glob([a)": "cannot be read",
}


@pytest.fixture(scope="module")
def loader() -> ConfigLoaderImpl:
    return ConfigLoaderImpl(create_config_search_path(str(CONFIG_DIR)))


@pytest.mark.parametrize("override", REFUSED)
def test_a_sweep_without_a_list_of_values_is_refused_in_a_line(override: str, loader: ConfigLoaderImpl) -> None:
    with pytest.raises(UserError) as refused:
        require_finite_sweep(["seed=0", override], loader)
    assert str(refused.value).startswith(override)
    assert REFUSED[override] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "override",
    ["seed=0,1", "seed=range(3)", "model=glob(*)", "optim.lr=choice(1,2)", "model.kernel=[3,3]", "~logger", "seed=0"],
)
def test_a_sweep_over_values_passes(override: str, loader: ConfigLoaderImpl) -> None:
    require_finite_sweep([override], loader)
    require_finite_sweep([override])


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "train -m optim.lr=interval(1e-4,1e-2)",
        "train -m callbacks=glob(zz*)",
        "train --config-dir conf -m experiment=mine",
        "evaluate --multirun scenes=interval(1,9)",
        "train -m hydra.callbacks.table.on_failure=no",
    ],
)
def test_a_command_refuses_a_sweep_in_a_line_before_any_job(command: str, tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    params = "# @package _global_\nhydra: {sweeper: {params: {optim.lr: 'interval(1,2)'}}}\n"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(params)
    name, *arguments = command.split()
    out, err = run(tmp_path, f"mnist_seq.{name}", *arguments, "hydra.sweep.dir=sweep", code=1)
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert not list(tmp_path.rglob("metrics.json"))
