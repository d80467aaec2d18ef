"""ONNX graphs predict what the model predicts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from mnist_seq import vocabulary
from mnist_seq.config import GridConfig, Spec, StringConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.preprocess import pad_pictures
from mnist_seq.errors import UserError
from mnist_seq.inference import onnx_export
from mnist_seq.inference.export import count_mismatches, predictor
from mnist_seq.inference.reader import Reader
from mnist_seq.nn import build, compute_attention_maps
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from tests.conftest import stirred, tiny_models

MODELS = tiny_models()


@pytest.mark.parametrize("name", ["enc_dec", "rotary", "conv_stem", "classifier", "sequence"])
def test_graph_of_canvases_predicts_what_the_model_predicts(name: str, tmp_path: Path, grids: SyntheticDataset) -> None:
    model = stirred(build(MODELS[name], GridConfig().spec), 0.3)
    onnx_export.export_onnx(model, tmp_path / "model.onnx", {}, include_preprocessing=False)
    session, images = onnx_export.create_session(tmp_path / "model.onnx", num_threads=1), grids[:100].images
    for batch_size in (1, 2, 100):
        expected = model.read(images[:batch_size])
        digits, probability, confidence = session.run(None, {"images": images[:batch_size].numpy()})
        assert (digits == expected.digits.numpy()).all()
        torch.testing.assert_close(torch.from_numpy(probability), expected.probs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.from_numpy(confidence), expected.confidence, rtol=1e-4, atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map["images"].startswith("uint8 (batch, 1, 56, 56)")


@pytest.mark.parametrize("max_length", [1, 2, 3])
def test_graph_of_a_short_decoder_predicts_what_the_model_predicts(max_length: int, tmp_path: Path) -> None:
    spec = StringConfig(max_digits=max_length, max_length=max_length, width=28 * max_length + 28).spec
    model = stirred(build(MODELS["enc_dec"], spec), 0.3)
    onnx_export.export_onnx(model, tmp_path / "model.onnx", {}, include_preprocessing=False)
    images = torch.randint(0, 256, (8, 1, spec.height, spec.width), dtype=torch.uint8)
    (digits,) = onnx_export.create_session(tmp_path / "model.onnx").run(["digits"], {"images": images.numpy()})
    assert (digits == model.read(images).digits.numpy()).all()


def test_graph_stops_once_every_sequence_has_ended(tmp_path: Path, grids: SyntheticDataset) -> None:
    model = stirred(build(MODELS["enc_dec"], GridConfig().spec), 0.3)
    for bias, num_steps in ((100.0, 1), (-100.0, 5)):
        model.lm_head.bias.data[vocabulary.EOS] = bias
        onnx_export.export_onnx(model, tmp_path / "model.onnx", {}, include_preprocessing=False)
        graph = onnx.load(tmp_path / "model.onnx")
        graph.graph.output.append(onnx.helper.make_tensor_value_info("tokens", onnx.TensorProto.INT64, None))
        onnx.save(graph, tmp_path / "with_tokens.onnx")
        session = onnx_export.create_session(tmp_path / "with_tokens.onnx")
        (tokens,) = session.run(["tokens"], {"images": grids[:3].images.numpy()})
        assert tokens.shape == (num_steps, 3, 1)


def test_graph_of_a_decoder_does_not_grow_with_the_longest_sequence(tmp_path: Path) -> None:
    sizes = []
    for max_length in (3, 9):
        spec = StringConfig(max_digits=max_length, max_length=max_length, width=28 * max_length).spec
        onnx_export.export_onnx(
            build(MODELS["enc_dec"], spec), tmp_path / "model.onnx", {}, include_preprocessing=False
        )
        graph = onnx.load(tmp_path / "model.onnx").graph
        (loop,) = (node for node in graph.node if node.op_type == "Loop")
        sizes.append((len(graph.node), len(loop.attribute[0].g.node)))
    assert sizes[0] == sizes[1]


class OwnDecoding(EncoderDecoder):
    """Reads in its own way, which only a graph of all that it does can follow."""

    def read(self, images: Tensor) -> DecodeOutput:
        output = super().read(images)
        return output._replace(digits=(output.digits + 1).clamp(max=vocabulary.PAD))


def test_model_with_its_own_decoding_is_exported_as_it_decodes(tmp_path: Path, grids: SyntheticDataset) -> None:
    model = stirred(OwnDecoding(MODELS["enc_dec"], GridConfig().spec), 0.3).eval()
    onnx_export.export_onnx(model, tmp_path / "model.onnx", {}, include_preprocessing=False)
    session, images = onnx_export.create_session(tmp_path / "model.onnx"), grids[:20].images
    (digits,) = session.run(["digits"], {"images": images.numpy()})
    assert (digits == model.read(images).digits.numpy()).all()


def test_graph_of_pictures_predicts_scenes_like_the_model_and_describes_itself(
    tmp_path: Path, grids: SyntheticDataset
) -> None:
    model, other = (stirred(build(MODELS["enc_dec"], GridConfig().spec), scale) for scale in (0.3, 0.6))
    onnx_export.export_onnx(model, tmp_path / "model.onnx", {"note": "x"})
    predict, images = onnx_export.load_predictor(tmp_path / "model.onnx"), grids[:100].images
    assert count_mismatches(predictor(model), predict, images) == 0
    assert count_mismatches(predictor(other), predict, images) > 0
    metadata = onnx_export.create_session(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    assert metadata["pictures"].startswith("uint8 (batch, 4, height, width)")
    assert metadata["digits"].startswith("int64 (rows, 4)")
    assert json.loads(metadata["card"]) == {"note": "x"}
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_graph_of_a_model_that_classifies_cells_has_a_slot_for_each(tmp_path: Path) -> None:
    model = stirred(build(MODELS["classifier"], StringConfig().spec), 0.3)
    onnx_export.export_onnx(model, tmp_path / "model.onnx", {}, include_preprocessing=False)
    session = onnx_export.create_session(tmp_path / "model.onnx")
    images = torch.zeros(2, 1, model.spec.height, model.spec.width, dtype=torch.uint8).numpy()
    digits, probability, _ = session.run(None, {"images": images})
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["digits"].startswith(f"int64 (rows, {digits.shape[1]})")
    assert metadata["probability"].startswith(f"float32 (rows, {probability.shape[1]})")


def drawn_pictures() -> list[Tensor]:
    """Pictures of zero to three rows of strokes, of several sizes and papers; 4 H W, uint8."""
    generator = torch.Generator().manual_seed(0)
    pictures = []
    for num_rows in (1, 0, 2, 3, 1):
        height, width = (int(torch.randint(low, 400, (1,), generator=generator)) for low in (250, 300))
        page = torch.full((height, width), 225.0) + 3 * torch.randn(height, width, generator=generator)
        for row in range(num_rows):
            for left in torch.randint(20, width - 30, (4,), generator=generator).tolist():
                page[20 + 75 * row : 60 + 75 * row, left : left + 5] = 40
        alpha = torch.full_like(page, 255)
        pictures.append(torch.stack([page, page, page, alpha]).clamp(0, 255).to(torch.uint8))
    return pictures


@pytest.mark.parametrize(("name", "spec"), [("enc_dec", StringConfig().spec), ("classifier", GridConfig().spec)])
def test_graph_reads_the_pixels_that_the_reader_reads(name: str, spec: Spec, tmp_path: Path) -> None:
    """Digits, probabilities and windows of every row, of pictures in a batch as of one alone."""
    reader = Reader(stirred(build(MODELS[name], spec), 0.3), {})
    onnx_export.export_onnx(reader.model, tmp_path / "model.onnx", {})
    session, pictures = onnx_export.create_session(tmp_path / "model.onnx", num_threads=1), drawn_pictures()
    for batch in (pictures, pictures[1:2], pictures[3:4]):
        padded, sizes = pad_pictures(batch)
        digits, probability, confidence, picture, window, num_shapes, num_omitted = (
            torch.from_numpy(it) for it in session.run(None, {"pictures": padded.numpy(), "sizes": sizes.numpy()})
        )
        readings = reader.read([it.permute(1, 2, 0) for it in batch])
        rows = [(index, row) for index, it in enumerate(readings) for row in it.rows or [it]]
        assert picture.tolist() == [index for index, _ in rows]
        for index, (_, row) in enumerate(rows):
            assert digits[index][digits[index] != vocabulary.PAD].tolist() == row.digits
            assert probability[index, : len(row.digits)].tolist() == pytest.approx(row.per_digit, rel=1e-3)
            assert float(confidence[index]) == pytest.approx(row.confidence, rel=1e-3)
            assert bool(num_shapes[index] > spec.max_length) == bool(row.warning)
            assert num_omitted[index] == 0
            assert row.blank or window[index].tolist() == pytest.approx(row.box, abs=0.01)
    assert any(len(it.rows) == 3 for it in reader.read([it.permute(1, 2, 0) for it in pictures])) == (name == "enc_dec")


def test_graph_that_explains_reads_as_the_plain_one_and_returns_the_attention_of_the_model(
    tmp_path: Path, grids: SyntheticDataset
) -> None:
    model, images = stirred(build(MODELS["enc_dec"], GridConfig().spec), 0.3), grids[:8].images
    onnx_export.export_onnx(model, tmp_path / "model.onnx", {}, include_preprocessing=False, explain=True)
    session = onnx_export.create_session(tmp_path / "model.onnx", num_threads=1)
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, {"images": images.numpy()}), strict=True))
    expected = model.read(images)
    assert (outputs["digits"] == expected.digits.numpy()).all()
    torch.testing.assert_close(torch.from_numpy(outputs["probability"]), expected.probs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.from_numpy(outputs["canvases"]), images / 255)
    *_, maps = (it for name, it in compute_attention_maps(model, images).items() if name.endswith("cross_attention"))
    steps = min(len(outputs["attention"]), maps.shape[2])
    for index, digits in enumerate(expected.digits.tolist()):
        length = min(steps, sum(digit < 10 for digit in digits))
        attention = torch.from_numpy(outputs["attention"][:length, index]).transpose(0, 1)
        torch.testing.assert_close(attention, maps[index, :, :length], rtol=1e-3, atol=1e-5)
    both = outputs["probability"] + outputs["runner_up_probability"]
    assert ((outputs["runner_up_probability"] <= outputs["probability"] + 1e-6) | (outputs["digits"] > 9)).all()
    assert (both[outputs["digits"] < 10] <= 1 + 1e-5).all()
    assert (outputs["runner_up"] != outputs["digits"])[outputs["digits"] < 10].all()


@pytest.mark.parametrize("name", ["classifier", "enc_dec"])
def test_graph_with_weights_in_8_bits_is_smaller_and_reads_alike(
    name: str, tmp_path: Path, grids: SyntheticDataset
) -> None:
    model, images, sizes, probs = stirred(build(MODELS[name], GridConfig().spec), 0.3), grids[:64].images, [], []
    for quantize in (False, True):
        path = tmp_path / f"{quantize}.onnx"
        onnx_export.export_onnx(model, path, {}, include_preprocessing=False, quantize=quantize)
        sizes.append(path.stat().st_size)
        probs.append(onnx_export.create_session(path).run(["probability"], {"images": images.numpy()})[0][:, 0])
    assert sizes[1] < sizes[0]
    assert abs(probs[0] - probs[1]).max() < 0.05


def test_only_an_encoder_decoder_explains(tmp_path: Path) -> None:
    model = build(MODELS["classifier"], GridConfig().spec)
    with pytest.raises(UserError, match="only an EncoderDecoder for 3 digits or more"):
        onnx_export.export_onnx(model, tmp_path / "model.onnx", {}, explain=True)
