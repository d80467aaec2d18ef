"""Platt scaling of confidences: what it fits, and that every reader applies it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import mnist_seq
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.labels import read_labels
from mnist_seq.data.trained_images import join_digests
from mnist_seq.evaluation.calibration import fit_scaling
from mnist_seq.export import _describe_scaling, _fit_scaling
from mnist_seq.inference import weights
from mnist_seq.inference.platt_scaling import PlattScaling
from mnist_seq.inference.reader import Reader
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.run_dir import Run


def _overconfident(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Confidences whose logits are twice what they should be, and one above."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(num, generator=generator)
    correct = (torch.rand(num, generator=generator) < truth).float()
    return torch.sigmoid(2 * torch.logit(truth, 1e-6) + 1), correct


def test_scaling_that_confidences_need_is_found() -> None:
    scaling = PlattScaling.fit(*_overconfident(40_000))
    assert scaling.slope == pytest.approx(0.5, abs=0.03)
    assert scaling.offset == pytest.approx(-0.5, abs=0.05)


def test_scaling_keeps_order_and_range_and_by_default_every_bit() -> None:
    confidence = torch.linspace(0, 1, 101)
    scaled = PlattScaling(0.7, -1.3)(confidence)
    assert (scaled.diff() >= 0).all()
    assert 0 <= float(scaled.min()) < float(scaled.max()) <= 1
    assert torch.equal(PlattScaling.from_card({})(confidence), confidence)


def test_report_measures_the_error_before_and_after() -> None:
    report = fit_scaling(*_overconfident(4000))
    assert report.before > 0.1
    assert report.interval[0] <= report.after <= report.interval[1]
    assert report.after < 0.03


def test_nothing_is_fitted_where_all_is_right() -> None:
    with pytest.raises(ValueError, match=r"cannot be scaled on .*, 16 right and 0 wrong: it requires both"):
        fit_scaling(torch.rand(20), torch.ones(20))
    with pytest.raises(ValueError, match="cannot be scaled on these predictions, 0 right and 0 wrong"):
        fit_scaling(torch.ones(0), torch.ones(0))


def test_confidence_that_misleads_is_not_scaled() -> None:
    confidence = torch.linspace(0.1, 0.9, 40)
    with pytest.raises(ValueError, match="the confident ones must be right more often than the others"):
        PlattScaling.fit(confidence, (confidence < 0.5).float())


def test_separable_confidences_stay_off_0_and_1() -> None:
    confidence = torch.linspace(0.1, 0.9, 40)
    scaled = PlattScaling.fit(confidence, (confidence > 0.5).float())(confidence)
    assert 1e-4 < float(scaled.min()) < float(scaled.max()) < 1 - 1e-4


def test_scaled_model_invents_no_alternatives(tiny_run: Run, grids: SyntheticDataset) -> None:
    """There may be fewer sequences than beams; the others have no probability, scaled or not."""
    model, card = weights.load(tiny_run.path)
    plain, scaled = (Reader(model, card | {"platt_scaling": it}) for it in (None, {"slope": 0.5, "offset": 0.25}))
    image = grids[:1].images / 255
    (one,), (other,) = (reader.read_canvases(image, num_beams=4) for reader in (plain, scaled))
    assert [it.digits for it in one.alternatives] == [it.digits for it in other.alternatives]
    confidences = [it.confidence for it in (other, *other.alternatives)]
    assert confidences == sorted(confidences, reverse=True)


def test_reader_and_onnx_graph_scale_alike(tiny_run: Run, grids: SyntheticDataset, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from mnist_seq.inference.onnx_export import create_session, export_onnx

    folder = Path(shutil.copytree(tiny_run.path, tmp_path / "scaled"))
    card = json.loads((folder / "model.json").read_text())
    card["platt_scaling"] = {"slope": 0.5, "offset": 0.25}
    (folder / "model.json").write_text(json.dumps(card))
    images = grids[:20].images
    plain, scaled = (mnist_seq.load(path).read_canvases(images / 255) for path in (tiny_run.path, folder))
    expected = PlattScaling(0.5, 0.25)(torch.tensor([reading.confidence for reading in plain]))
    torch.testing.assert_close(torch.tensor([reading.confidence for reading in scaled]), expected)
    assert [reading.per_digit for reading in scaled] == [reading.per_digit for reading in plain]
    model, card = weights.load(folder)
    export_onnx(model, tmp_path / "graph.onnx", card, include_preprocessing=False)
    (confidence,) = create_session(tmp_path / "graph.onnx").run(["confidence"], {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(confidence), expected, atol=1e-4, rtol=1e-3)


def test_export_fits_to_a_folder_of_labelled_pictures(tiny_run: Run, grids: SyntheticDataset, tmp_path: Path) -> None:
    model, card = weights.load(tiny_run.path)
    images = grids[:60].images
    readings = mnist_seq.load(tiny_run.path).read([image[0].numpy() for image in images])
    doubtful = sorted(range(60), key=lambda index: readings[index].confidence)[:30:2]
    lines = []
    for index, (image, reading) in enumerate(zip(images, readings, strict=True)):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{index}.png")
        digits = [*reading.digits, 1] if index in doubtful else reading.digits
        lines.append(json.dumps({"image": f"{index}.png", "digits": digits}))
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    scaling = _fit_scaling(model, card, str(tmp_path))
    assert (scaling["pictures"], scaling["correct"]) == (60, 45)
    assert _describe_scaling(scaling).startswith("expected calibration error on 60 pictures, 45 of them read correctly")
    again = _fit_scaling(model, card | {"platt_scaling": scaling}, str(tmp_path))
    assert again == scaling, "an earlier scaling does not matter"
    with pytest.raises(ValueError, match=r"calibrate_on=\S+nowhere is not a directory"):
        _fit_scaling(model, card, str(tmp_path / "nowhere"))
    labels = read_labels(tmp_path)
    trained = card | {"trained_images": join_digests([label for label in labels if int(label.image.stem) < 3])}
    assert _fit_scaling(model, trained, str(tmp_path))["pictures"] == 57, "without those that it was trained on"
    with pytest.raises(ValueError, match="the model was trained on all of these pictures, name others"):
        _fit_scaling(model, card | {"trained_images": join_digests(labels)}, str(tmp_path))


def test_beams_share_what_the_best_one_leaves() -> None:
    scores = torch.tensor([0.48, 0.47, 0.03]).log()
    beams = DecodeOutput(torch.zeros(3, 1).long(), torch.zeros(3, 1), scores, torch.ones(3).bool())
    scaled = PlattScaling(1.5, 0.75).rescore_beams(beams).confidence
    assert scaled[0] == PlattScaling(1.5, 0.75)(scores.exp())[0]
    assert scaled.sum() <= 1
    assert scaled.tolist() == sorted(scaled.tolist(), reverse=True)
    assert PlattScaling().rescore_beams(beams) is beams
