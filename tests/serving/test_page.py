"""The page to play with: its pictures, its scenes, and what it shows of a reading."""

from __future__ import annotations

import io
import re
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mnist_seq
from mnist_seq import app
from mnist_seq.config import FAMILY_CONFIGS, ClassifierConfig, EncoderDecoderConfig, GridConfig, Spec, StringConfig
from mnist_seq.config.serialization import to_dict
from mnist_seq.data import datasets
from mnist_seq.inference import pretrained
from mnist_seq.inference.reader import Reader
from mnist_seq.inference.reading import Reading
from mnist_seq.nn import build
from mnist_seq.reporting.overlay import overlay_attention
from mnist_seq.run_dir import Run
from mnist_seq.serving import drawing, heldout_scenes, render_html
from mnist_seq.serving.explain import Look, look
from tests.conftest import stirred

pytest.importorskip("streamlit")
PAGE = Path(drawing.__file__).with_name("page.py")
SPECS = {name: schema().spec for name, schema in FAMILY_CONFIGS.items() if name not in ("mixed", "folder")}


# ------------------------------------------------------------------------------------------------------------ pictures


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    return file.getvalue()


def penned(ink: np.ndarray, k: int) -> np.ndarray:
    """What a canvas gives back for ink drawn in white."""
    large = np.kron(ink, np.ones((k, k), np.uint8))
    return np.stack([np.full_like(large, 255)] * 3 + [large], -1)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_what_is_drawn_is_read_as_it_is(spec: Spec) -> None:
    ink = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width), dtype=np.uint8)
    drawn = penned(ink, drawing.zoom(spec))
    assert drawn.shape[:2] == drawing.guides(spec).size[::-1], "the canvas is a whole multiple of the model's"
    assert (drawing.sketch(drawn, spec) == ink).all()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_canvas_fits_a_phone(spec: Spec) -> None:
    shown = drawing.zoom(spec) * spec.width / (2 if drawing.lengthy(spec) else 1)  # page.css halves a line there
    assert 200 <= shown <= 358


def test_guides_part_the_cells_of_a_grid_and_no_others() -> None:
    guided = np.asarray(drawing.guides(GridConfig(rows=2, cols=2).spec).convert("L"))
    assert (guided[len(guided) // 2] > guided[0, 0]).all()
    free = np.asarray(drawing.guides(SPECS["scatter"]).convert("L"))
    assert not (free[len(free) // 2] > free[0, 0]).any()


def test_attention_lights_what_is_looked_at() -> None:
    image, weights = np.zeros((4, 4)), np.zeros((4, 4))
    image[:, 1::2], weights[:2] = 1, 0.1
    shown = overlay_attention(image, weights)
    assert shown.shape == (4, 4, 3)
    assert (shown[:2].sum(-1) > shown[2:].sum(-1)).all(), "ink and background alike"


# -------------------------------------------------------------------------------------------------------------- scenes


def test_scenes_are_those_that_the_canvas_holds_and_the_model_can_write() -> None:
    own = GridConfig()
    found = heldout_scenes.families(own.spec, to_dict(own))
    assert next(iter(found)) == "grid"
    assert {"single", "overlap", "grid_empty"} <= found.keys()
    assert not {"string", "scatter_8", "grid_3x3", "folder"} & found.keys()
    assert "scatter_8" not in heldout_scenes.families(Spec(96, 96, 4, (4, 4)), None), "it has up to eight digits"
    assert "string" not in heldout_scenes.families(Spec(28, 224, 8, (1, 12)), None), "it is higher"
    assert next(iter(heldout_scenes.families(own.spec, to_dict(GridConfig(rows=1))))) == heldout_scenes.OWN


def test_a_smaller_scene_lies_in_the_middle() -> None:
    of = heldout_scenes.load(GridConfig(digits="uci"))
    spec = Spec(70, 60, 4, (2, 2))
    scene = heldout_scenes.scene(of, 3, spec)
    assert scene.image.shape == (70, 60)
    assert (scene.image[7:63, 2:58] == of.splits["test"][3].images[0, 0].numpy()).all()


def test_nothing_is_downloaded_and_whose_digits_are_shown_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MNIST_SEQ_DATA", str(tmp_path))
    monkeypatch.setattr("mnist_seq.data.download.download", lambda *_: pytest.fail("downloaded"))
    assert "NOT MNIST" in heldout_scenes.load(GridConfig()).notice


@pytest.mark.parametrize(("ordered", "right"), [(True, False), (False, True)])
def test_the_order_counts_where_there_is_one(ordered: bool, right: bool) -> None:
    assert heldout_scenes.Scene(np.zeros((2, 2)), [1, 2], ordered).right([2, 1]) is right


# ------------------------------------------------------------------------------------------------------------ readings


@pytest.mark.parametrize("config", [EncoderDecoderConfig, ClassifierConfig])
def test_each_digit_has_its_look_and_a_writer_one_for_the_end(config: Any) -> None:
    grid = GridConfig(digits="uci")
    torch.manual_seed(1)
    reader = Reader(stirred(build(config(dim=16, num_heads=2, encoder_depth=1), grid.spec), 0.5), {})
    scenes = [image.numpy() for image in datasets.load(grid).splits["test"][:3].images[:, 0]]
    for image, seen in zip(scenes, look(reader, scenes), strict=True):
        assert seen.reading.digits
        ends = ["end"] if config is EncoderDecoderConfig else []
        assert [name for name, _ in seen.attention] == [*map(str, seen.reading.digits), *ends]
        assert all(weights.shape == image.shape for _, weights in seen.attention)
        assert np.allclose(seen.canvas, image / 255), "what fits is seen as it is"
        assert seen.reading.digits == reader.read(image, 5 if ends else 1).digits


def test_a_verdict_is_in_words() -> None:
    seen = Look(np.ones((4, 4)), Reading([1, 2], 0.9, [0.95, 0.94]))
    assert "✓ right" in render_html.reading(seen, heldout_scenes.Scene(np.ones((4, 4)), [1, 2], True))
    assert "✗ wrong" in render_html.reading(seen, heldout_scenes.Scene(np.ones((4, 4)), [2, 1], True))


def test_a_picture_without_ink_is_said_to_have_none() -> None:
    reader = Reader(stirred(build(EncoderDecoderConfig(dim=16, num_heads=2, encoder_depth=1), GridConfig().spec)), {})
    (seen,) = look(reader, [np.full((90, 90), 200, np.uint8)])
    assert "I see no ink." in render_html.reading(seen)
    assert not seen.attention


def test_nothing_uncertain_is_called_certain() -> None:
    text = render_html.reading(Look(np.ones((4, 4)), Reading([1], 0.99999, [0.99999])))
    assert "100" not in text.partition("<h2>")[0].replace("width: 100%", "")


@pytest.mark.parametrize(
    ("spec", "data", "said"),
    [
        (Spec(28, 28, 1, (1, 1)), {"family": "single"}, "one digit on 28x28"),
        (GridConfig().spec, to_dict(GridConfig()), "reads 4 digits on 56x56 pixels, in raster order."),
        (GridConfig().spec, to_dict(GridConfig(p_empty=0.3)), "reads up to 4 digits"),
        (StringConfig().spec, to_dict(StringConfig()), "from left to right"),
        (SPECS["overlap"], {}, "in any order"),
    ],
)
def test_an_introduction_says_what_is_read_in_which_order(spec: Spec, data: dict[str, Any], said: str) -> None:
    assert said in render_html.introduction("it", spec, {"data": data})


def test_an_introduction_gives_the_score_with_its_interval() -> None:
    scores = {"test": {"scenes": 10_000, "exact_match": 0.985, "exact_match_interval": [0.982, 0.987]}}
    said = render_html.introduction("<it>", GridConfig().spec, {"scores": scores})
    assert "98.5 % of 10,000" in said
    assert "98.2 % to 98.7 %" in said
    assert "<it>" not in said, "names are escaped"


# ---------------------------------------------------------------------------------------------------------------- page


class Canvas:
    """Stands in for the component, which lives in a browser."""

    def __init__(self) -> None:
        self.drawn = SimpleNamespace(json_data=None, image_data=None)

    def __call__(self, **options: Any) -> SimpleNamespace:
        self.size = options["height"], options["width"]
        return self.drawn

    def draw(self) -> None:
        ink = np.zeros((*self.size, 4), np.uint8)
        ink[60:-60, 60:80] = 255
        self.drawn = SimpleNamespace(json_data={"objects": [{}]}, image_data=ink)


@pytest.fixture
def canvas(monkeypatch: pytest.MonkeyPatch) -> Canvas:
    component = ModuleType("streamlit_drawable_canvas")
    component.st_canvas = Canvas()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "streamlit_drawable_canvas", component)
    return component.st_canvas


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, canvas: Canvas, tiny_run: Run, tmp_path: Path) -> Any:
    """As a person finds it who started it on a run and has no MNIST."""
    from streamlit.testing.v1 import AppTest

    monkeypatch.setenv("MNIST_SEQ_DATA", str(tmp_path))
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", tmp_path)
    monkeypatch.setattr(sys, "argv", [str(PAGE), "--run", str(tiny_run.path)])
    return AppTest.from_file(str(PAGE), default_timeout=60).run()


def texts(page: Any) -> str:
    assert not page.exception
    return " ".join(element.proto.body for element in page.get("html"))


def test_a_drawing_is_read_as_it_grows(page: Any, canvas: Canvas, tiny_run: Run) -> None:
    assert "The reading" not in texts(page)
    canvas.draw()
    assert "reads 4 digits" in texts(page.run())
    sketch = drawing.sketch(canvas.drawn.image_data, GridConfig().spec)
    digits = mnist_seq.load(tiny_run.path).read(sketch, 5).digits
    assert re.findall(r"<b>(\d)</b>", texts(page)) == [*map(str, digits)]


def test_the_next_scene_is_another_and_its_truth_is_shown(page: Any) -> None:
    page.segmented_control(key="way").set_value("Test scenes").run()
    truth = heldout_scenes.load(GridConfig(digits="uci"))
    for index in range(2):
        assert page.number_input[0].value == index
        shown = heldout_scenes.scene(truth, index, GridConfig().spec).digits
        assert f"It shows {' '.join(map(str, shown))}." in texts(page)
        page.button(key="next").click().run()
    assert any("NOT MNIST" in caption.value for caption in page.caption)


def test_every_way_opens_without_a_complaint(page: Any) -> None:
    for way in ("Upload", "Photograph", "Test scenes", "Draw"):
        page.segmented_control(key="way").set_value(way).run()
        assert not page.exception
        assert not page.error


def test_what_cannot_be_loaded_is_said_in_a_line(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(PAGE), "--run", "nowhere"])
    page.run()
    assert not page.exception
    assert "nowhere does not exist" in page.error[0].value


# ------------------------------------------------------------------------------------------------------------- command


def test_a_port_that_is_taken_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        port = door.getsockname()[1]
        assert app.main(["--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert said == f"mnist_seq: port {port} of 127.0.0.1 is taken: choose another with --port\n"


def test_what_is_missing_is_named_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert app.main([]) == 1
    said = capsys.readouterr().err
    assert "pip install 'mnist_seq[app]'" in said
    assert said.count("\n") == 1
