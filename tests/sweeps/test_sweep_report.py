"""The HTML page of a sweep."""

from __future__ import annotations

from pathlib import Path

from mnist_seq.reporting import curves
from mnist_seq.sweeps.sweep_report import render_sweep
from tests.sweeps.conftest import fall_back_on_uci


def test_page_shows_the_notice_and_a_plot_of_each_swept_key(sweep: Path) -> None:
    page = render_sweep(fall_back_on_uci(sweep), "norms")
    assert "NOT MNIST: uci" in page
    assert page.count("<svg") == 1, "model.norm was swept, the digits were not"


def test_plots_average_runs_on_different_digits_separately() -> None:
    scores = {"digits=mnist": [("pre", 0.9), ("post", 0.6)], "digits=uci": [("pre", 0.3), ("post", 0.1)]}
    figure = curves.hyperparameter_effect("model.norm", scores, "NOT MNIST: uci")
    means = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert means == [[0.6, 0.9], [0.1, 0.3]]
    assert figure.get_suptitle() == "NOT MNIST: uci"
