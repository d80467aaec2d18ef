"""Models from outside the package."""

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
TARGET = f"{__name__}.Recurrent"


class Recurrent(Model):
    """No Transformer: a recurrent network over the rows of pixels, and another over the tokens."""

    output_type = "sequence"

    def __init__(self, spec: Spec, width: int = 24) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = torch.nn.GRU(spec.width, width, batch_first=True)
        self.tokens = torch.nn.Embedding(len(VOCABULARY), width)
        self.decoder = torch.nn.GRU(width, width, batch_first=True)
        self.to_logits = torch.nn.Linear(width, len(VOCABULARY))
        self.to_logits.weight = self.tokens.weight

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        return self.step(tokens, self.start(images))[0]

    def start(self, images: Tensor) -> Tensor:
        return self.encoder(images[:, 0] / (1 if images.is_floating_point() else 255))[1]

    def step(self, tokens: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        hidden, cache = self.decoder(self.tokens(tokens), cache)
        return self.to_logits(hidden), cache

    def read(self, images: Tensor) -> decoding.DecodeOutput:
        return decoding.greedy(self, images)

    def embed(self, images: Tensor) -> Tensor:
        return self.start(images)[0]


class NotAModel(torch.nn.Module):
    """Not a `Model`, and must not be called to find that out."""

    output_type = "cells"

    def __init__(self, spec: Spec) -> None:
        raise AssertionError("called")


class CellModel(Model):
    """Never built."""

    output_type = "cells"


def test_custom_model_trains_evaluates_resumes_and_reads_like_a_built_in_one(tmp_path: Path) -> None:
    model = ("model=custom", f"model._target_={TARGET}", "+model.width=12")
    tiny = [override for override in TINY if not override.startswith("model.")]
    run = mnist_seq.fit(*model, "data=grid", *tiny, f"hydra.run.dir={tmp_path}/run")
    reader = mnist_seq.load(run.path)
    assert type(reader.model) is Recurrent
    assert reader.model.encoder.hidden_size == 12
    assert run.config.model.kwargs == {"width": 12}
    assert 0 <= run.metrics["val"]["exact_match"] <= 1
    assert len(reader.read(torch.rand(56, 56)).digits) <= 4
    with pytest.raises(ValueError, match="the cache of Recurrent does not implement repeat and reorder"):
        reader.read(torch.rand(56, 56), num_beams=2)
    resumed = mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=15")
    assert resumed.metrics["steps"] == 15


def test_custom_model_may_be_chosen_by_a_preset(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(f"_target_: {TARGET}\nwidth: 7\n")
    config = mnist_seq.compose(f"hydra.searchpath=[file://{tmp_path}]", "model=mine").model
    assert config == CustomConfig.from_dict({"_target_": TARGET, "width": 7}) != CustomConfig(TARGET)
    assert nn.build(config, SPEC).get_submodule("encoder").hidden_size == 7


def test_preset_without_a_schema_cannot_name_a_built_in_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("name: enc_dec\ndim: 64\n")
    with pytest.raises(ValueError, match=r"start the file with defaults: \[schema/enc_dec\]"):
        mnist_seq.compose(f"hydra.searchpath=[file://{tmp_path}]", "model=mine")


def test_weights_of_a_custom_model_run_no_code_unless_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger.py").write_text("raise SystemExit('ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = nn.build(CustomConfig(TARGET), SPEC)
    weights.save(model, tmp_path / "weights.safetensors")
    card = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(card.replace(TARGET, "stranger.Reader"))
    for trust in (None, False, "other", "strange"):
        with pytest.raises(UserError, match=r"names stranger.Reader, and opening it runs that code: .* trust=true"):
            mnist_seq.load(tmp_path, trust=trust)
    for trust in (True, "stranger"):
        with pytest.raises(SystemExit, match="ran"):
            mnist_seq.load(tmp_path, trust=trust)


def test_reads_still_sets_the_output_type_and_warns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A custom model of version 1, with the old names of its output type and of `DecodeOutput`."""
    (tmp_path / "old_model.py").write_text(
        "import torch\n"
        "from mnist_seq.nn import Model, decoding\n"
        "class Reader(Model):\n"
        "    reads = 'cells'\n"
        "    def __init__(self, spec):\n"
        "        super().__init__()\n"
        "    def forward(self, images):\n"
        "        return torch.zeros(len(images), 4, 11)\n"
        "    def read(self, images) -> decoding.Readout:\n"
        "        return decoding.by_cells(self(images))\n"
        "    def embed(self, images):\n"
        "        return images.flatten(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(FutureWarning) as caught:
        model = nn.build(CustomConfig("old_model.Reader"), SPEC)
    messages = " ".join(str(warning.message) for warning in caught)
    assert "Reader.reads is now called output_type" in messages
    assert "decoding.Readout is now mnist_seq.nn.decoding.DecodeOutput" in messages
    assert model.output_type == "cells"
    assert isinstance(model.read(torch.zeros(2, 1, 56, 56)), decoding.DecodeOutput)


def test_cell_model_refuses_scenes_whose_digits_can_share_a_cell() -> None:
    with pytest.raises(ValueError, match="predicts one digit per cell, but these scenes have no such cells"):
        nn.build(CustomConfig(f"{__name__}.CellModel"), Spec(56, 56, 4, (0, 0)))


@pytest.mark.parametrize(
    ("target", "kwargs", "message"),
    [
        ("nowhere.Reader", {}, r"model._target_=nowhere.Reader cannot be found: No module named 'nowhere'"),
        (f"{__name__}.Gone", {}, r"cannot be found: module .* has no attribute 'Gone'"),
        ("Reader", {}, r"model._target_=Reader cannot be found"),
        (".mine.Reader", {}, r"model._target_=.mine.Reader cannot be found: name a class with its module"),
        (f"{__name__}.NotAModel", {}, r"is not a subclass of mnist_seq.nn.Model"),
        ("os.system", {"command": "exit 1"}, r"is not a subclass of mnist_seq.nn.Model"),
        (TARGET, {"depth": 3}, r"cannot be built: .*unexpected keyword argument 'depth'"),
    ],
)
def test_invalid_target_is_refused_in_one_line(target: str, kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        nn.build(CustomConfig.from_dict({"_target_": target, **kwargs}), SPEC)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("class Reader(nn.Model):\n    def __init__(self, spec):\n        [][spec]\n", TypeError),
        ("class Reader(nn.Model):\n    def __init__(self, spec):\n        open('/gone')\n", FileNotFoundError),
        ("import not_installed_anywhere\n", ModuleNotFoundError),
        ("1 / 0\n", ZeroDivisionError),
    ],
)
def test_bug_in_a_custom_model_keeps_its_own_error(
    source: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "    output_type = 'sequence'\n    def read(self, images): ...\n    def embed(self, images): ...\n"
    (tmp_path / "buggy.py").write_text(f"from mnist_seq import nn\n{source}{body if 'class' in source else ''}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "buggy", raising=False)
    with pytest.raises(error) as raised:
        nn.build(CustomConfig("buggy.Reader"), SPEC)
    assert not isinstance(raised.value, UserError)
