"""Judge the readers that ship, and tell of it: `python -m mnist_seq.results`, or `make results`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import command
from mnist_seq.atomic import require_folder, write_whole
from mnist_seq.config import DataConfig, EvaluateConfig, ResultsConfig
from mnist_seq.plain import plain

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

    from mnist_seq.judging.judgement import Judgement
    from mnist_seq.learn.exam import Exam

DRAWN, SCENES_DRAWN = 36, 16
"""Digits, and scenes, of a reader that are drawn."""

_OF_TRAINING = ("digits", "pool", "augment", "fixed", "batch_size", "val_scenes", "scene_seed")
"""Keys of data that say nothing of what test scenes show."""


def main() -> None:
    command.run("results", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.figures import markdown
    from mnist_seq.learn import machine

    config, console = command.typed(cfg, ResultsConfig), Console(highlight=False, soft_wrap=True)
    readme = Path(config.readme) if config.readme else None
    if readme:
        markdown.require_marks(readme)
    readers, folder = named(config), Path(config.to)
    require_folder("to", folder)
    machine.keep_memory()
    found = judge(readers, config, folder, console)
    write_whole(folder / "results.json", json.dumps(found, indent=2) + "\n")
    draw(found, folder)
    text = markdown.results(found, config)
    write_whole(folder / "results.md", text)
    console.print(f"all figures: {folder / 'results.json'}, {folder / 'results.md'}", markup=False)
    if readme:
        markdown.put(readme, text)
        console.print(f"written into {readme}", markup=False)


def named(config: ResultsConfig) -> list[str]:
    """The readers that are asked for, in the order of the protocols.

    Raises:
        ValueError: no such reader.
    """
    from mnist_seq.config.law import require_known
    from mnist_seq.use import pretrained

    there = pretrained.names()
    for name in config.readers:
        require_known("readers", name, there)
    return sorted(config.readers or there, key=[*config.anchors, *there].index)


def judge(readers: list[str], config: ResultsConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Figures of each reader on its own protocol, of its scenes disturbed, and of scenes from elsewhere.

    Scenes that are misread are drawn into the folder, as <reader>_scenes.png.

    Raises:
        FileNotFoundError, ValueError: scenes that a reader cannot read, or digits that are not at hand.
    """
    from mnist_seq.config.law import require
    from mnist_seq.judging.misread import misread
    from mnist_seq.learn.exam import exam

    found: dict[str, Any] = {"protocols": {}, "misread": {}, "disturbed": {}, "elsewhere": {}}
    for name in readers:
        own = exam(_asked(config, config.scenes, f"run=pretrained:{name} data={name}"))
        source, taught = own.sets.source, own.card.get("digits")
        require(
            not config.readme or source == taught,
            f"{name} was taught {taught} and would be judged on {source}: set MNIST_SEQ_DATA, or leave out readme",
        )
        judgement = own.judge()
        draw_scenes(own, judgement, folder / f"{name}_scenes.png")
        summary = judgement.summary()
        card = {key: own.card.get(key) for key in ("parameters", "trained", "revision", "curve", "sha256")}
        others = {"seeds": seeds(own.card, own.data, own.number), "seconds_before": seconds_before(own.card)}
        found["protocols"][name] = summary | {"digits": source, "card": card} | others
        console.print(f"{name}: {summary['exact_match']:.2%} of {summary['scenes']:,} test scenes", markup=False)
        if own.scenes.spec.ordered:
            found["misread"][name] = [it._asdict() for it in misread(judgement.readings)]
        found["disturbed"][name] = {"as they are": float(judgement.verdict.exact[: config.others].mean())}
        for what, how in config.disturbed.items():
            judged = exam(replace(own.config, disturb=how, scenes=config.others), own.sets).judge()
            found["disturbed"][name][what] = judged.figures["exact_match"].value
        found["elsewhere"][name] = {
            what: exam(_asked(config, config.others, f"run=pretrained:{name} {asked}")).judge().summary()
            for what, asked in config.elsewhere.get(name, {}).items()
        }
    return found


def draw(found: dict[str, Any], folder: Path) -> None:
    """How each reader learnt, as curves.png, and the digits that it misreads most, as <reader>.png."""
    from mnist_seq.data import digits
    from mnist_seq.figures import plots, trends
    from mnist_seq.judging.misread import Misread

    curves = {name: each["card"]["curve"] for name, each in found["protocols"].items() if each["card"]["curve"]}
    if curves:
        plots.save(trends.learning(curves), folder / "curves.png")
    shown = {name: found["protocols"][name]["digits"] for name in found["misread"]}
    pools = {whose: digits.load(whose).pools["test"] for whose in set(shown.values())}
    for name, rows in found["misread"].items():
        pool = pools[shown[name]]
        place = {source: at for at, source in enumerate(pool.indices.tolist())}
        worst = [Misread(**row) for row in rows[:DRAWN]]
        if worst:
            plots.save(plots.misread(worst, pool.images[[place[it.source] for it in worst]]), folder / f"{name}.png")


def draw_scenes(own: Exam, judgement: Judgement, path: Path) -> None:
    """Scenes that a reader misreads, those first of whose readings it is surest."""
    from mnist_seq.figures import plots
    from mnist_seq.nn.decoding import Readout

    worst = judgement.wrong[:SCENES_DRAWN]
    if len(worst):
        scenes, readout = own.scenes.render(worst), Readout(*(each[worst] for each in judgement.readings.readout[:4]))
        plots.save(plots.samples(scenes, readout, ordered=own.scenes.spec.ordered), path)


def seconds_before(card: dict[str, Any]) -> float:
    """Seconds that those readers took to train which a reader began with, as far as they ship."""
    from mnist_seq.use import pretrained, weights

    name = str(card["trained"].get("began_with")).removeprefix(pretrained.PREFIX)
    if name not in pretrained.names():
        return 0.0
    earlier = weights.load(f"{pretrained.PREFIX}{name}")[1]
    return float(earlier["trained"]["seconds"]) + seconds_before(earlier)


def seeds(card: dict[str, Any], data: DataConfig, scenes: int) -> list[dict[str, Any]]:
    """What a card's other seeds read of as many scenes; none where theirs, their recipe's, are others."""
    theirs, these = (dict(it) | dict.fromkeys(_OF_TRAINING) for it in (card["data"], plain(data)))
    return [each for each in card.get("seeds") or [] if each["scenes"] == scenes and theirs == these]


def _asked(config: ResultsConfig, scenes: int, asked: str) -> EvaluateConfig:
    """What `evaluate` would be asked."""
    keys = [f"scenes={scenes}", "split=test", f"device={config.device}", *asked.split()]
    return command.typed(command.compose("evaluate", keys)[0], EvaluateConfig)


if __name__ == "__main__":
    main()
