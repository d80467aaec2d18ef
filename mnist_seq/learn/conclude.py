"""After training: evaluate the weights that count on val, write them, draw the plots and the report."""

from __future__ import annotations

from mnist_seq import provenance
from mnist_seq.config import TrainConfig
from mnist_seq.data.module import SceneData
from mnist_seq.figures import plots, report, trends
from mnist_seq.figures.report import Subject
from mnist_seq.learn.judge import judge
from mnist_seq.learn.modules import ReaderModule
from mnist_seq.nn import cost
from mnist_seq.plain import plain
from mnist_seq.run import Run
from mnist_seq.use import weights


def conclude(run: Run, config: TrainConfig, module: ReaderModule, data: SceneData) -> None:
    """Judge the weights that count on val, write them, draw the plots."""
    model, revision = module.model, provenance.revision()
    run.record(
        flops=3 * cost.per_scene(model)[""].flops * run.metrics.get("scenes", 0),  # a step takes thrice a forward pass
        digits=data.source,
        notice=data.notice,
        parameters=sum(weight.numel() for weight in model.parameters()),
        revision=revision,
        versions=provenance.versions(),
    )
    judgement = None
    if "val" in data.sets:
        judgement = judge(model, data.sets["val"], len(data.sets["val"]), loss=config.loss)
        run.record(val=judgement.summary())
    about = {"data": plain(data.config), "digits": data.source, "loss": plain(config.loss), "revision": revision}
    weights.save(model, run.weights, learnt_val=module.learnt_val, **about)
    _draw(run, module, data)
    if judgement and config.report:
        val, taught = data.sets["val"], data.sets["train"]
        subject = Subject(str(run.path), model, about, val, data.source, data.notice, taught, run)
        report.write(subject, judgement, run.report)


def _draw(run: Run, module: ReaderModule, data: SceneData) -> None:
    """The run's plots."""
    notice = data.notice
    plots.save(trends.curves(run.rows, notice), run.plots / "curves.png")
    split = "val" if "val" in data.sets else "train"
    shown = data.sets[split]
    scenes = shown[:32]
    readout = module.model.cpu().eval().read(scenes.images)
    plots.save(plots.samples(scenes, readout, notice, shown.spec.ordered), run.plots / "samples.png")
    if split == "val":
        figure = plots.confusion(run.metrics["val"]["confusion"], "Digits of val, by what was read", notice)
        plots.save(figure, run.plots / "confusion.png")
