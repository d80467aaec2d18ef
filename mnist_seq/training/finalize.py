"""The end of a run: evaluate the final weights on val, and write weights, plots and report."""

from __future__ import annotations

from mnist_seq import provenance
from mnist_seq.config import EvaluateConfig, TrainConfig
from mnist_seq.config.serialization import to_dict
from mnist_seq.data.datamodule import SceneDataModule
from mnist_seq.data.datasets import DatasetSplits
from mnist_seq.evaluation.evaluate_model import evaluate_model
from mnist_seq.evaluation.evaluator import Evaluator
from mnist_seq.inference import weights
from mnist_seq.inference.init_from import describe_init
from mnist_seq.nn import flops
from mnist_seq.nn.model import Model
from mnist_seq.reporting import curves, plots, report
from mnist_seq.run_dir import FINALIZED_STEPS, Run
from mnist_seq.training.module import ReaderModule

_NUM_SAMPLES = 32
"""Scenes of samples.png."""


def finalize(run: Run, config: TrainConfig, module: ReaderModule, data: SceneDataModule) -> None:
    """Evaluate the final weights on val, and write metrics, weights, plots and, with `report`, report.html."""
    model, val, revision = module.model, data.datasets.get("val"), provenance.git_revision()
    forward_flops = flops.costs_per_scene(model)[""].flops
    run.update_metrics(
        flops=3 * forward_flops * run.metrics.get("scenes", 0),  # the backward pass costs twice the forward pass
        digits=data.source,
        notice=data.notice,
        parameters=sum(weight.numel() for weight in model.parameters()),
        revision=revision,
        versions=provenance.package_versions(),
    )
    result = evaluate_model(model, val, len(val), loss=config.loss) if val else None
    if result:
        run.update_metrics(val=result.summary())
    card = {"data": to_dict(data.config), "digits": data.source, "loss": to_dict(config.loss), "revision": revision}
    card["trained"] = {"seconds": run.metrics.get("seconds")} | describe_init(run.metrics)
    weights.save(model, run.weights, **module.trained_on, **card)
    run.update_metrics(**{FINALIZED_STEPS: run.metrics["steps"]})
    _save_plots(run, model, data)
    if result and val and config.report:
        splits = DatasetSplits(data.source, data.notice, data.datasets, data.train_includes_val)
        evaluator = Evaluator(EvaluateConfig(run=str(run.path)), model, card, data.config, splits, len(val))
        report.write_report(evaluator, result, run.report)


def _save_plots(run: Run, model: Model, data: SceneDataModule) -> None:
    notice, dataset = data.notice, data.datasets.get("val", data.datasets["train"])
    plots.save_figure(curves.training_curves(run.logged_metrics, notice), run.plots / "curves.png")
    batch = dataset[:_NUM_SAMPLES]
    output = model.cpu().eval().read(batch.images)
    plots.save_figure(plots.prediction_grid(batch, output, notice, dataset.spec.ordered), run.plots / "samples.png")
    if dataset.split == "val":
        figure = plots.confusion_matrix(run.metrics["val"]["confusion"], "Confusion matrix on val", notice)
        plots.save_figure(figure, run.plots / "confusion.png")
