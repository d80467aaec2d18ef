"""A model that is not of this package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mnist_seq
from mnist_seq import nn
from mnist_seq.config import CustomConfig, Spec
from mnist_seq.errors import UserError
from mnist_seq.inference import weights
from mnist_seq.nn import Model, decoding
from mnist_seq.vocabulary import VOCABULARY
from tests.conftest import TINY

SPEC = Spec(56, 56, 4, (2, 2))
HERE = f"{__name__}.Recurrent"


class Recurrent(Model):
    """Rows of pixels, read by one recurrent network and written by another: no Transformer at all."""

    output_type = "sequence"

    def __init__(self, spec: Spec, width: int = 24) -> None:
        super().__init__()
        self.spec = spec
        self.look = torch.nn.GRU(spec.width, width, batch_first=True)
        self.tokens = torch.nn.Embedding(len(VOCABULARY), width)
        self.write = torch.nn.GRU(width, width, batch_first=True)
        self.to_logits = torch.nn.Linear(width, len(VOCABULARY))
        self.to_logits.weight = self.tokens.weight

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        return self.step(tokens, self.start(images))[0]

    def start(self, images: Tensor) -> Tensor:
        return self.look(images[:, 0] / (1 if images.is_floating_point() else 255))[1]

    def step(self, tokens: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        written, cache = self.write(self.tokens(tokens), cache)
        return self.to_logits(written), cache

    def read(self, images: Tensor) -> decoding.DecodeOutput:
        return decoding.greedy(self, images)

    def embed(self, images: Tensor) -> Tensor:
        return self.start(images)[0]


class Stranger(torch.nn.Module):
    """No model, and it must not be called to find that out."""

    output_type = "cells"

    def __init__(self, spec: Spec) -> None:
        raise AssertionError("called")


class Silent(Model):
    """Never built."""

    output_type = "cells"


def test_a_model_of_ones_own_is_trained_judged_and_read_like_ours(tmp_path: Path) -> None:
    chosen = ("model=custom", f"model._target_={HERE}", "+model.width=12")
    tiny = [override for override in TINY if not override.startswith("model.")]
    run = mnist_seq.fit(*chosen, "data=grid", *tiny, f"hydra.run.dir={tmp_path}/run")
    reader = mnist_seq.load(run.path)
    assert type(reader.model) is Recurrent
    assert reader.model.look.hidden_size == 12
    assert run.config.model.kwargs == {"width": 12}
    assert 0 <= run.metrics["val"]["exact_match"] <= 1
    assert len(reader.read(torch.rand(56, 56)).digits) <= 4
    with pytest.raises(ValueError, match="the cache of Recurrent has no repeat and reorder"):
        reader.read(torch.rand(56, 56), num_beams=2)
    again = mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=15")
    assert again.metrics["steps"] == 15


def test_a_file_of_ones_own_names_the_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(f"_target_: {HERE}\nwidth: 7\n")
    config = mnist_seq.compose(f"hydra.searchpath=[file://{tmp_path}]", "model=mine").model
    assert config == CustomConfig.from_dict({"_target_": HERE, "width": 7}) != CustomConfig(HERE)
    assert nn.build(config, SPEC).get_submodule("look").hidden_size == 7


def test_a_file_that_inherits_no_schema_cannot_be_one_of_ours(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("name: enc_dec\ndim: 64\n")
    with pytest.raises(ValueError, match=r"begin the file with defaults: \[schema/enc_dec\]"):
        mnist_seq.compose(f"hydra.searchpath=[file://{tmp_path}]", "model=mine")


def test_strangers_weights_run_no_code_unless_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger.py").write_text("raise SystemExit('ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = nn.build(CustomConfig(HERE), SPEC)
    weights.save(model, tmp_path / "weights.safetensors")
    card = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(card.replace(HERE, "stranger.Reader"))
    for trust in (None, False, "other", "strange"):
        with pytest.raises(UserError, match=r"names stranger.Reader, and opening it runs that code: .* trust=true"):
            mnist_seq.load(tmp_path, trust=trust)
    for trust in (True, "stranger"):
        with pytest.raises(SystemExit, match="ran"):
            mnist_seq.load(tmp_path, trust=trust)


def test_a_model_by_cells_refuses_scenes_in_which_digits_share_one() -> None:
    with pytest.raises(ValueError, match="reads a digit a cell, but two digits of these scenes can share one"):
        nn.build(CustomConfig(f"{__name__}.Silent"), Spec(56, 56, 4, (0, 0)))


@pytest.mark.parametrize(
    ("target", "arguments", "said"),
    [
        ("nowhere.Reader", {}, r"model._target_=nowhere.Reader cannot be found: No module named 'nowhere'"),
        (f"{__name__}.Gone", {}, r"cannot be found: module .* has no attribute 'Gone'"),
        ("Reader", {}, r"model._target_=Reader cannot be found"),
        (f"{__name__}.Stranger", {}, r"is no subclass of mnist_seq.nn.Model"),
        ("os.system", {"command": "exit 1"}, r"is no subclass of mnist_seq.nn.Model"),
        (HERE, {"depth": 3}, r"cannot be built: .*unexpected keyword argument 'depth'"),
    ],
)
def test_what_is_no_model_is_refused_in_a_line(target: str, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        nn.build(CustomConfig.from_dict({"_target_": target, **arguments}), SPEC)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("class Reader(nn.Model):\n    def __init__(self, spec):\n        [][spec]\n", TypeError),
        ("class Reader(nn.Model):\n    def __init__(self, spec):\n        open('/gone')\n", FileNotFoundError),
        ("import not_installed_anywhere\n", ModuleNotFoundError),
        ("1 / 0\n", ZeroDivisionError),
    ],
)
def test_a_bug_in_a_custom_model_keeps_its_own_error(
    source: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "    output_type = 'sequence'\n    def read(self, images): ...\n    def embed(self, images): ...\n"
    (tmp_path / "buggy.py").write_text(f"from mnist_seq import nn\n{source}{body if 'class' in source else ''}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "buggy", raising=False)
    with pytest.raises(error) as raised:
        nn.build(CustomConfig("buggy.Reader"), SPEC)
    assert not isinstance(raised.value, UserError)
