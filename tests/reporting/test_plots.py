"""Plots show what they are given, under the notice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.nn import build
from mnist_seq.reporting import curves, plots
from mnist_seq.vocabulary import decode
from tests.conftest import tiny_models

NOTICE = "NOT MNIST: a test"


def text_of(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text")))


def test_every_plot_shows_the_notice_and_can_be_saved(grids: SyntheticDataset, tmp_path: Path) -> None:
    scenes = grids[:3]
    output = build(tiny_models()["classifier"], grids.spec).eval().read(scenes.images)
    rows = [{"step": 1, "train/loss": 2.0}, {"step": 2, "val/loss": 1.0, "val/exact_match": 0.5}]
    for notice in ("", NOTICE):
        figures = [
            curves.training_curves(rows, notice),
            plots.prediction_grid(scenes, output, notice),
            plots.confusion_matrix([[1] * 11] * 10, "counts", notice),
        ]
        for number, figure in enumerate(figures):
            assert (NOTICE in text_of(figure)) == bool(notice)
            plots.save_figure(figure, tmp_path / f"{number}.png")
            assert plots.as_array(figure).std() > 0


def test_wrong_predictions_show_the_label_and_correct_ones_do_not(grids: SyntheticDataset) -> None:
    scenes = grids[:8]
    output = build(tiny_models()["enc_dec"], grids.spec).eval().read(scenes.images)
    wrong = output._replace(digits=scenes.digits.clone(), ended=torch.ones(8) > 0)
    wrong.digits[0, 0] = (wrong.digits[0, 0] + 1) % 10
    text = text_of(plots.prediction_grid(scenes, wrong))
    assert text.count("(label ") == 1
    assert " ".join(map(str, decode(scenes.digits)[0])) in text


def test_confusion_matrix_shows_each_count(grids: SyntheticDataset) -> None:
    counts = np.zeros((10, 11), int)
    counts[4, 9] = 1234
    assert "1234" in text_of(plots.confusion_matrix(counts.tolist(), ""))


def test_learning_curves_are_plotted_completely_and_named() -> None:
    val_curves = {"one": [(100, 0.5), (1000, 0.9), (2000, 1.0)], "other": [(500, 0.98)]}
    figure = curves.learning_curves(val_curves)
    assert {"one", "other"} <= set(text_of(figure).split())
    axes = figure.axes[0]
    for line, points in zip(axes.get_lines(), val_curves.values(), strict=True):
        assert np.allclose(line.get_xydata(), [(scenes, 1 - score) for scenes, score in points])
    low, high = axes.get_ylim()
    assert low < 0.02 < 0.5 < high


def test_contact_sheet_numbers_known_boxes_alone(grids: SyntheticDataset) -> None:
    scenes = grids[:3]
    numbers = int(scenes.counts.sum())
    panels = len(scenes.images)
    for boxes, expected in ((scenes.boxes, numbers), (torch.zeros_like(scenes.boxes), 0)):
        sheet = plots.contact_sheet(scenes._replace(boxes=boxes), "title")
        shown = [text for axes in sheet.axes for text in axes.texts]
        assert len(sheet.axes) >= panels
        assert len(shown) == expected
