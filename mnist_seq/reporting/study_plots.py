"""Pages for the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_TARGET_NAME = "exact match, val"


def write_study_plots(study: Any, folder: Path) -> list[Path]:
    """Pictures of a search: its history, what mattered, which values went together.

    Args:
        study: Optuna's, with a trial that has a score.
    """
    from optuna import visualization

    drawings: dict[str, Any] = {"history": visualization.plot_optimization_history}
    drawings["parallel"] = visualization.plot_parallel_coordinate
    if len({trial.value for trial in study.trials if trial.state.name == "COMPLETE"}) > 1:
        drawings["importance"] = visualization.plot_param_importances
    pages = []
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in drawings.items():
        pages.append(folder / f"{name}.html")
        draw(study, target_name=_TARGET_NAME).write_html(pages[-1], include_plotlyjs="directory")
    return pages
