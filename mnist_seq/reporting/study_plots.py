"""Interactive plots of a hyperparameter search, as HTML pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnist_seq.atomic_io import atomic_write_text

_TARGET_NAME = "exact match, val"


def write_study_plots(study: Any, output_dir: Path) -> list[Path]:
    """Write the optimization history, parallel coordinates and hyperparameter importances of a study.

    Importances need trials with different scores.

    Args:
        study: an `optuna.Study` with at least one completed trial.

    Returns:
        Paths of the pages.
    """
    from optuna import visualization
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    plots: dict[str, Any] = {
        "history": visualization.plot_optimization_history,
        "parallel": visualization.plot_parallel_coordinate,
    }
    if len({trial.value for trial in study.trials if trial.state.name == "COMPLETE"}) > 1:
        plots["importance"] = visualization.plot_param_importances
    pages = []
    output_dir.mkdir(parents=True, exist_ok=True)
    atomic_write_text(output_dir / "plotly.min.js", get_plotlyjs())
    for name, plot in plots.items():
        pages.append(output_dir / f"{name}.html")
        figure = plot(study, target_name=_TARGET_NAME)
        atomic_write_text(pages[-1], figure.to_html(include_plotlyjs="directory"))
    return pages
