"""ONNX graphs predict what the model predicts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from mnist_seq.config import GridConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.inference import onnx_export
from mnist_seq.inference.export import count_mismatches, predictor
from mnist_seq.nn import build
from tests.conftest import stirred, tiny_models

MODELS = tiny_models()


@pytest.mark.parametrize("name", ["enc_dec", "rotary", "conv_stem", "classifier", "sequence"])
def test_graph_predicts_what_the_model_predicts(name: str, tmp_path: Path, grids: SyntheticDataset) -> None:
    model = stirred(build(MODELS[name], GridConfig().spec), 0.3)
    path = tmp_path / "model.onnx"
    onnx_export.export_onnx(model, path, {"note": "x"})
    images = grids[:100].images
    assert count_mismatches(predictor(model), onnx_export.load_predictor(path), images) == 0
    session = onnx_export.create_session(path, num_threads=1)
    for batch_size in (1, 2, 7):
        expected = model.read(images[:batch_size])
        digits, probability, confidence = session.run(None, {"images": images[:batch_size].numpy()})
        assert (digits == expected.digits.numpy()).all()
        torch.testing.assert_close(torch.from_numpy(probability), expected.probs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.from_numpy(confidence), expected.confidence, rtol=1e-4, atol=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["images"].startswith("uint8 (batch, 1, 56, 56)")
    assert metadata["digits"].startswith("int64 (batch, 4)")
    assert json.loads(metadata["card"]) == {"note": "x"}
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    other = stirred(build(MODELS[name], GridConfig().spec), 0.6)
    assert count_mismatches(predictor(other), onnx_export.load_predictor(path), images) > 0
