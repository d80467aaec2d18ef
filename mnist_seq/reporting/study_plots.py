"""Interactive plots of a hyperparameter search, as HTML pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

    plots: dict[str, Any] = {
        "history": visualization.plot_optimization_history,
        "parallel": visualization.plot_parallel_coordinate,
    }
    if len({trial.value for trial in study.trials if trial.state.name == "COMPLETE"}) > 1:
        plots["importance"] = visualization.plot_param_importances
    pages = []
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, plot in plots.items():
        pages.append(output_dir / f"{name}.html")
        plot(study, target_name=_TARGET_NAME).write_html(pages[-1], include_plotlyjs="directory")
    return pages
