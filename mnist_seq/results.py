"""Evaluate the pretrained models and write the tables of results: `python -m mnist_seq.results`, or `make results`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import cli
from mnist_seq.atomic_io import atomic_write_text, make_dir
from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import DataConfig, EvaluateConfig, ResultsConfig
from mnist_seq.config.serialization import to_dict

if TYPE_CHECKING:
    from rich.console import Console

    from mnist_seq.evaluation.evaluator import Evaluator

_TRAINING_ONLY_KEYS = (
    "digits", "pool", "augment", "corruptions", "num_train_scenes", "batch_size", "val_scenes",
)  # fmt: skip
"""Keys of the data config that do not change the test scenes."""


def main() -> None:
    cli.run_command("results", _job)


def _job(config: ResultsConfig, run_dir: Path) -> None:
    from rich.console import Console

    from mnist_seq.reporting import markdown
    from mnist_seq.reporting.results_plots import plot_results

    console = Console(highlight=False, soft_wrap=True)
    for key, path, marker in config.markdown_files():
        markdown.require_markers(key, path, marker)
    models, folder = select_models(config), Path(config.output_dir)
    make_dir("output_dir", folder)
    results = evaluate_models(models, config, folder, console)
    atomic_write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
    plot_results(results, folder)
    tables = {"tables": markdown.results_tables(results, config), "readme": markdown.headline_table(results, config)}
    atomic_write_text(folder / "results.md", tables["tables"])
    console.print(f"metrics: {folder / 'results.json'}, {folder / 'results.md'}", markup=False)
    for key, path, marker in config.markdown_files():
        markdown.replace_between_markers(path, marker, tables[key])
        console.print(f"updated {path}", markup=False)


def select_models(config: ResultsConfig) -> list[str]:
    """Return the pretrained models to evaluate, in the order of the protocols.

    Raises:
        UserError: there is no such model.
    """
    from mnist_seq.config.validation import check_choice
    from mnist_seq.inference import pretrained

    available = pretrained.list_models()
    for name in config.models:
        check_choice("models", name, available)
    return sorted(config.models or available, key=[*config.published, *available].index)


def evaluate_models(models: list[str], config: ResultsConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Evaluate each model on its own protocol, on corrupted scenes, and on other data.

    Misread scenes are drawn into the folder, as <model>_scenes.png.

    Returns:
        The content of results.json: `protocols`, `hard_examples`, `corrupted` and `other_data`, each by model.

    Raises:
        UserError, NotFoundError: a model cannot read the scenes, or the digits are not available.
    """
    from mnist_seq.evaluation.evaluator import load_evaluator
    from mnist_seq.evaluation.hard_examples import find_hard_examples
    from mnist_seq.reporting.results_plots import plot_error_scenes

    results: dict[str, Any] = {"protocols": {}, "hard_examples": {}, "corrupted": {}, "other_data": {}}
    for name in models:
        evaluator = load_evaluator(_evaluate_config(config, config.scenes, f"run=pretrained:{name} data={name}"))
        _check_same_digits(name, evaluator, config)
        result = evaluator.evaluate()
        plot_error_scenes(evaluator, result, folder / f"{name}_scenes.png")
        summary = result.summary()
        results["protocols"][name] = summary | _training_facts(evaluator)
        console.print(f"{name}: {summary['exact_match']:.2%} of {summary['scenes']:,} test scenes", markup=False)
        if evaluator.scenes.spec.ordered:
            results["hard_examples"][name] = [it._asdict() for it in find_hard_examples(result.predictions)]
        clean = float(result.scene_metrics.exact_match[: config.robustness_scenes].mean())
        results["corrupted"][name] = {"clean": clean} | _evaluate_corrupted(evaluator, config)
        results["other_data"][name] = _evaluate_other_data(name, config)
    return results


def _check_same_digits(name: str, evaluator: Evaluator, config: ResultsConfig) -> None:
    """Refuse to publish metrics on stand-in digits."""
    from mnist_seq.config.validation import check

    digits, trained_on = evaluator.datasets.source, evaluator.card.get("digits")
    check(
        not config.markdown_files() or digits == trained_on,
        f"{name} was trained on {trained_on} but would be evaluated on {digits}: set MNIST_SEQ_DATA, or leave out "
        "readme and tables",
    )


def _training_facts(evaluator: Evaluator) -> dict[str, Any]:
    card = evaluator.card
    return {
        "digits": evaluator.datasets.source,
        "card": {key: card.get(key) for key in ("parameters", "trained", "revision", "val_curve", "sha256")},
        "seeds": comparable_seeds(card, evaluator.data, evaluator.datasets.source, evaluator.num_scenes),
    }


def _evaluate_corrupted(evaluator: Evaluator, config: ResultsConfig) -> dict[str, float]:
    """Exact match on the model's own scenes under each corruption."""
    from mnist_seq.evaluation.evaluator import load_evaluator

    base = replace(evaluator.config, scenes=config.robustness_scenes)
    return {
        label: load_evaluator(replace(base, corruptions=it), evaluator.datasets).evaluate().metrics["exact_match"].value
        for label, it in config.corruptions.items()
    }


def _evaluate_other_data(name: str, config: ResultsConfig) -> dict[str, Any]:
    """Metrics on each of the other datasets of a model."""
    from mnist_seq.evaluation.evaluator import load_evaluator

    configs = {
        label: _evaluate_config(config, config.robustness_scenes, f"run=pretrained:{name} {overrides}")
        for label, overrides in config.other_data.get(name, {}).items()
    }
    return {label: load_evaluator(it).evaluate().summary() for label, it in configs.items()}


def comparable_seeds(card: dict[str, Any], data: DataConfig, source: str, num_scenes: int) -> list[dict[str, Any]]:
    """Return the metrics of the card's other seeds if they were evaluated on the same test scenes; else none.

    Args:
        data, source, num_scenes: the test scenes of this evaluation, and their source of digits.
    """
    trained, evaluated = (dict(it) | dict.fromkeys(_TRAINING_ONLY_KEYS) for it in (card["data"], to_dict(data)))
    is_same = trained == evaluated and source == card.get("digits")
    return [seed for seed in card.get("seeds") or [] if seed["scenes"] == num_scenes and is_same]


def _evaluate_config(config: ResultsConfig, num_scenes: int, overrides: str) -> EvaluateConfig:
    """Compose the config of `evaluate`."""
    arguments = [f"scenes={num_scenes}", "split=test", f"device={config.device}", *overrides.split()]
    return to_dataclass(compose("evaluate", arguments)[0], EvaluateConfig)


if __name__ == "__main__":
    main()
