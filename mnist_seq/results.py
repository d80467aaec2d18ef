"""Judge the readers that ship, and tell of it: `python -m mnist_seq.results`, or `make results`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import cli
from mnist_seq.atomic_io import atomic_write_text, make_dir
from mnist_seq.config import DataConfig, EvaluateConfig, ResultsConfig
from mnist_seq.config.serialization import to_dict

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

    from mnist_seq.evaluation.eval_result import EvalResult
    from mnist_seq.evaluation.evaluator import Evaluator

NUM_DIGITS_SHOWN, NUM_SCENES_SHOWN = 36, 16
"""Digits, and scenes, of a reader that are drawn."""

_TRAINING_ONLY_KEYS = ("digits", "pool", "augment", "num_train_scenes", "batch_size", "val_scenes", "scene_seed")
"""Keys of data that say nothing of what test scenes show."""


def main() -> None:
    cli.run_command("results", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.reporting import markdown
    from mnist_seq.training import hardware

    config, console = cli.to_dataclass(cfg, ResultsConfig), Console(highlight=False, soft_wrap=True)
    readme = Path(config.readme) if config.readme else None
    if readme:
        markdown.require_markers(readme)
    readers, folder = select_models(config), Path(config.output_dir)
    make_dir("output_dir", folder)
    hardware.tune_malloc()
    found = evaluate_models(readers, config, folder, console)
    atomic_write_text(folder / "results.json", json.dumps(found, indent=2) + "\n")
    plot_results(found, folder)
    text = markdown.results_tables(found, config)
    atomic_write_text(folder / "results.md", text)
    console.print(f"all figures: {folder / 'results.json'}, {folder / 'results.md'}", markup=False)
    if readme:
        markdown.replace_between_markers(readme, text)
        console.print(f"written into {readme}", markup=False)


def select_models(config: ResultsConfig) -> list[str]:
    """The readers that are asked for, in the order of the protocols.

    Raises:
        ValueError: no such reader.
    """
    from mnist_seq.config.validation import check_choice
    from mnist_seq.inference import pretrained

    there = pretrained.list_models()
    for name in config.models:
        check_choice("models", name, there)
    return sorted(config.models or there, key=[*config.published, *there].index)


def evaluate_models(models: list[str], config: ResultsConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Figures of each reader on its own protocol, of its scenes disturbed, and of scenes from elsewhere.

    Scenes that are misread are drawn into the folder, as <reader>_scenes.png.

    Raises:
        FileNotFoundError, ValueError: scenes that a reader cannot read, or digits that are not at hand.
    """
    from mnist_seq.config.validation import check
    from mnist_seq.evaluation.evaluator import load_evaluator
    from mnist_seq.evaluation.hard_examples import find_hard_examples

    found: dict[str, Any] = {"protocols": {}, "misread": {}, "disturbed": {}, "elsewhere": {}}
    for name in models:
        own = load_evaluator(_evaluate_config(config, config.scenes, f"run=pretrained:{name} data={name}"))
        source, taught = own.datasets.source, own.card.get("digits")
        check(
            not config.readme or source == taught,
            f"{name} was taught {taught} and would be judged on {source}: set MNIST_SEQ_DATA, or leave out readme",
        )
        judgement = own.evaluate()
        plot_error_scenes(own, judgement, folder / f"{name}_scenes.png")
        summary = judgement.summary()
        card = {key: own.card.get(key) for key in ("parameters", "trained", "revision", "val_curve", "sha256")}
        others = {
            "seeds": comparable_seeds(own.card, own.data, own.num_scenes),
            "seconds_before": pretraining_seconds(own.card),
        }
        found["protocols"][name] = summary | {"digits": source, "card": card} | others
        console.print(f"{name}: {summary['exact_match']:.2%} of {summary['scenes']:,} test scenes", markup=False)
        if own.scenes.spec.ordered:
            found["misread"][name] = [it._asdict() for it in find_hard_examples(judgement.predictions)]
        found["disturbed"][name] = {
            "as they are": float(judgement.scene_metrics.exact_match[: config.robustness_scenes].mean())
        }
        for what, how in config.corruptions.items():
            judged = load_evaluator(
                replace(own.config, corruption=how, scenes=config.robustness_scenes), own.datasets
            ).evaluate()
            found["disturbed"][name][what] = judged.metrics["exact_match"].value
        found["elsewhere"][name] = {
            what: load_evaluator(_evaluate_config(config, config.robustness_scenes, f"run=pretrained:{name} {asked}"))
            .evaluate()
            .summary()
            for what, asked in config.other_data.get(name, {}).items()
        }
    return found


def plot_results(results: dict[str, Any], folder: Path) -> None:
    """How each reader learnt, as curves.png, and the digits that it misreads most, as <reader>.png."""
    from mnist_seq.data import sources
    from mnist_seq.evaluation.hard_examples import HardExample
    from mnist_seq.reporting import curves, plots

    val_curves = {
        name: each["card"]["val_curve"] for name, each in results["protocols"].items() if each["card"]["val_curve"]
    }
    if val_curves:
        plots.save_figure(curves.learning_curves(val_curves), folder / "curves.png")
    shown = {name: results["protocols"][name]["digits"] for name in results["misread"]}
    pools = {whose: sources.load(whose).pools["test"] for whose in set(shown.values())}
    for name, rows in results["misread"].items():
        pool = pools[shown[name]]
        place = {source: at for at, source in enumerate(pool.source_indices.tolist())}
        worst = [HardExample(**row) for row in rows[:NUM_DIGITS_SHOWN]]
        if worst:
            plots.save_figure(
                plots.hard_examples(worst, pool.images[[place[it.source_id] for it in worst]]), folder / f"{name}.png"
            )


def plot_error_scenes(evaluator: Evaluator, result: EvalResult, path: Path) -> None:
    """Scenes that a reader misreads, those first of whose readings it is surest."""
    from mnist_seq.nn.decoding import DecodeOutput
    from mnist_seq.reporting import plots

    worst = result.error_ids[:NUM_SCENES_SHOWN]
    if len(worst):
        scenes, readout = (
            evaluator.scenes.render(worst),
            DecodeOutput(*(each[worst] for each in result.predictions.output[:4])),
        )
        plots.save_figure(plots.prediction_grid(scenes, readout, ordered=evaluator.scenes.spec.ordered), path)


def pretraining_seconds(card: dict[str, Any]) -> float:
    """Seconds that those readers took to train which a reader began with, as far as they ship."""
    from mnist_seq.inference import pretrained, weights

    name = str(card["trained"].get("init_from")).removeprefix(pretrained.PREFIX)
    if name not in pretrained.list_models():
        return 0.0
    earlier = weights.load(f"{pretrained.PREFIX}{name}")[1]
    return float(earlier["trained"]["seconds"]) + pretraining_seconds(earlier)


def comparable_seeds(card: dict[str, Any], data: DataConfig, num_scenes: int) -> list[dict[str, Any]]:
    """What a card's other seeds read of as many scenes; none where theirs, their recipe's, are others."""
    theirs, these = (dict(it) | dict.fromkeys(_TRAINING_ONLY_KEYS) for it in (card["data"], to_dict(data)))
    return [each for each in card.get("seeds") or [] if each["scenes"] == num_scenes and theirs == these]


def _evaluate_config(config: ResultsConfig, num_scenes: int, overrides: str) -> EvaluateConfig:
    """What `evaluate` would be asked."""
    keys = [f"scenes={num_scenes}", "split=test", f"device={config.device}", *overrides.split()]
    return cli.to_dataclass(cli.compose("evaluate", keys)[0], EvaluateConfig)


if __name__ == "__main__":
    main()
