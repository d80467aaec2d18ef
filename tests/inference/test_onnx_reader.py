"""The reader that ONNX Runtime runs reads what torch reads."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_seq.config import GridConfig, LineConfig
from mnist_seq.inference.onnx_export import build_graph
from mnist_seq.inference.onnx_reader import OnnxReader
from mnist_seq.inference.reader import Reader
from mnist_seq.nn import build
from tests.conftest import stirred, tiny_models


def pictures() -> list[np.ndarray]:
    """Black and white strokes in one row, in two, and none; a picture of the canvas' size, and an empty one."""
    one_row, two_rows, canvas = np.full((80, 200), 255, np.uint8), np.zeros((150, 90, 3), np.uint8), np.zeros((32, 96))
    one_row[20:60, 30:180:30] = one_row[20:60, 31:180:30] = 0
    two_rows[20:50, 10:80:20] = two_rows[90:120, 10:80:25] = 255
    canvas[6:26, 10:80:12] = 1
    return [one_row, two_rows, canvas, np.zeros((40, 40), np.uint8)]


def test_readings_equal_those_of_torch() -> None:
    model = stirred(build(tiny_models()["enc_dec"], LineConfig(width=96, max_digits=4).spec), 0.3)
    torch_reader, onnx_reader = Reader(model, {}), OnnxReader(model, {}, build_graph(model, {}), num_threads=1)
    expected, found = torch_reader.read(pictures()), onnx_reader.read(pictures())
    assert [len(it.rows) for it in expected] == [0, 2, 0, 0]
    for one, other in zip(found, expected, strict=True):
        assert (one.digits, one.blank, one.warning) == (other.digits, other.blank, other.warning)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
        assert one.per_digit == pytest.approx(other.per_digit, abs=1e-4)
        assert (one.box is None) == (other.box is None)
        assert one.box is None or one.box == pytest.approx(other.box, abs=0.1)
    assert found[3].blank
    assert onnx_reader.read(pictures()[0]) == found[0], "alone as in a list"
    assert onnx_reader.read(pictures()[0], num_beams=2) == torch_reader.read(pictures()[0], num_beams=2)


def test_model_that_classifies_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="engine=onnx cannot return cells.*use engine=torch"):
        OnnxReader(build(tiny_models()["classifier"], GridConfig().spec), {}, b"")
