"""Write the report of a run again: `python -m mnist_seq.report run=outputs/<date>/<time>`."""

from __future__ import annotations

from pathlib import Path

from mnist_seq import cli
from mnist_seq.atomic_io import make_dir
from mnist_seq.config import EvaluateConfig, ReportConfig


def main() -> None:
    cli.run_command("report", _job)


def _job(config: ReportConfig, run_dir: Path) -> None:
    """Evaluate, on val as training did, and write report.html."""
    from mnist_seq.evaluation.evaluator import load_evaluator
    from mnist_seq.find_runs import resolve_run
    from mnist_seq.reporting.evaluation_report import model_results_dir
    from mnist_seq.reporting.report import write_report
    from mnist_seq.run_dir import Run

    model = resolve_run(config.run)
    run = Run(model)
    evaluator = load_evaluator(EvaluateConfig(run=model, split=config.split, device=config.device, trust=config.trust))
    path = Path(config.output or (run.report if run.exists else model_results_dir(model) / "report.html"))
    make_dir("output", path.parent)
    write_report(evaluator, evaluator.evaluate(), path)
    print(f"report: {path}")


if __name__ == "__main__":
    main()
