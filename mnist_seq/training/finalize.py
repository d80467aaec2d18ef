"""After training: evaluate the weights that count on val, write them, draw the plots and the report."""

from __future__ import annotations

from mnist_seq import provenance
from mnist_seq.config import TrainConfig
from mnist_seq.config.serialization import to_dict
from mnist_seq.data.datamodule import SceneDataModule
from mnist_seq.evaluation.evaluate_model import evaluate_model
from mnist_seq.inference import weights
from mnist_seq.nn import flops
from mnist_seq.reporting import curves, plots, report
from mnist_seq.reporting.report import ReportInput
from mnist_seq.run_dir import Run
from mnist_seq.training.module import ReaderModule


def finalize(run: Run, config: TrainConfig, module: ReaderModule, data: SceneDataModule) -> None:
    """Judge the weights that count on val, write them, draw the plots."""
    model, revision = module.model, provenance.git_revision()
    run.update_metrics(
        flops=3
        * flops.costs_per_scene(model)[""].flops
        * run.metrics.get("scenes", 0),  # a step takes thrice a forward pass
        digits=data.source,
        notice=data.notice,
        parameters=sum(weight.numel() for weight in model.parameters()),
        revision=revision,
        versions=provenance.package_versions(),
    )
    judgement = None
    if "val" in data.datasets:
        judgement = evaluate_model(model, data.datasets["val"], len(data.datasets["val"]), loss=config.loss)
        run.update_metrics(val=judgement.summary())
    about = {"data": to_dict(data.config), "digits": data.source, "loss": to_dict(config.loss), "revision": revision}
    weights.save(model, run.weights, trained_on_val=module.trained_on_val, **about)
    _save_plots(run, module, data)
    if judgement and config.report:
        val, taught = data.datasets["val"], data.datasets["train"]
        subject = ReportInput(str(run.path), model, about, val, data.source, data.notice, taught, run)
        report.write_report(subject, judgement, run.report)


def _save_plots(run: Run, module: ReaderModule, data: SceneDataModule) -> None:
    """The run's plots."""
    notice = data.notice
    plots.save_figure(curves.training_curves(run.logged_metrics, notice), run.plots / "curves.png")
    split = "val" if "val" in data.datasets else "train"
    shown = data.datasets[split]
    scenes = shown[:32]
    readout = module.model.cpu().eval().read(scenes.images)
    plots.save_figure(plots.prediction_grid(scenes, readout, notice, shown.spec.ordered), run.plots / "samples.png")
    if split == "val":
        figure = plots.confusion_matrix(run.metrics["val"]["confusion"], "Digits of val, by what was read", notice)
        plots.save_figure(figure, run.plots / "confusion.png")
