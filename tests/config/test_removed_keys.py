"""Keys that are gone: saved defaults load without them, anything else ends in one line."""

from __future__ import annotations

import pytest

from mnist_seq.config import EncoderDecoderConfig, LossConfig
from mnist_seq.config.migrations import migrate_config
from mnist_seq.config.renamed_keys import check_overrides, rename_flat_keys
from mnist_seq.config.serialization import from_dict, to_dict
from mnist_seq.errors import UserError


def saved_config(drop_path: float = 0.0, reduction: str = "mean") -> dict[str, dict[str, object]]:
    """Groups of a training config as version 1 saved them."""
    model = to_dict(EncoderDecoderConfig()) | {"drop_path": drop_path}
    return {"model": model, "loss": to_dict(LossConfig()) | {"reduction": reduction}}


def test_saved_config_with_default_values_loads_without_the_keys() -> None:
    migrated = migrate_config(saved_config(), "config.yaml")
    assert from_dict(EncoderDecoderConfig, migrated["model"]) == EncoderDecoderConfig()
    assert from_dict(LossConfig, migrated["loss"]) == LossConfig()
    flat = {"model.drop_path": 0.0, "loss.reduction": "mean", "model.dim": 64}
    assert rename_flat_keys(flat) == {"model.dim": 64}


@pytest.mark.parametrize(
    ("changed", "setting"), [({"drop_path": 0.1}, "model.drop_path=0.1"), ({"reduction": "sum"}, "loss.reduction=sum")]
)
def test_saved_config_with_another_value_is_refused_with_the_way_out(changed: dict[str, object], setting: str) -> None:
    with pytest.raises(UserError, match=rf"config.yaml has {setting}, which was removed .*: train again"):
        migrate_config(saved_config(**changed), "config.yaml")  # type: ignore[arg-type]
    key, _, value = setting.partition("=")
    with pytest.raises(UserError, match=f"{setting}, which was removed"):
        rename_flat_keys({key: float(value) if value == "0.1" else value})


@pytest.mark.parametrize("command", ["train", "describe"])
@pytest.mark.parametrize("override", ["model.drop_path=0.1", "loss.reduction=sum", "++loss.reduction=mean"])
def test_typed_removed_key_is_refused(command: str, override: str) -> None:
    with pytest.raises(UserError, match=r"was removed \(.*\): leave it out"):
        check_overrides(command, [override])


def test_removed_key_in_a_search_space_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.drop_path was removed"):
        check_overrides("search", ["+space.model.drop_path=0.1"])


def test_custom_model_may_have_an_argument_of_a_removed_name() -> None:
    check_overrides("train", ["model=custom", "model._target_=mine.Reader", "+model.drop_path=0.1"])
    values = {"model": {"name": "custom", "_target_": "mine.Reader", "drop_path": 0.1}}
    assert migrate_config(values, "config.yaml")["model"]["drop_path"] == 0.1
