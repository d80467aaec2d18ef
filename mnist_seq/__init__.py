"""A laboratory for Transformers that read digit sequences from images.

    run = mnist_seq.fit("model=enc_dec", "data=grid", "trainer.max_steps=500")
    mnist_seq.load(run.path).read("photo.png").digits

Nothing heavy is imported until it is called.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    import torch

    from mnist_seq.config import TrainConfig
    from mnist_seq.data.datamodule import SceneDataModule
    from mnist_seq.data.datasets import SceneDataset
    from mnist_seq.inference.reader import Reader
    from mnist_seq.run_dir import Run
    from mnist_seq.training.module import ReaderModule

__version__ = "0.1.0"
__all__ = ["build", "compose", "fit", "load", "scenes"]


def compose(*overrides: str) -> TrainConfig:
    """Compose the config of a training run from the overrides of a command line.

    Raises:
        UserError: unknown key, value of the wrong type, or invalid config.
    """
    from mnist_seq import compose_config
    from mnist_seq.config import TrainConfig

    return compose_config.to_dataclass(compose_config.compose("train", list(overrides)).config, TrainConfig)


def build(*overrides: str) -> tuple[ReaderModule, SceneDataModule]:
    """Build the modules of a run for a Trainer of your own: `Trainer(max_steps=9).fit(*build("data=grid"))`."""
    from mnist_seq.training.fit import build_module_and_data

    return build_module_and_data(compose(*overrides))


def fit(*overrides: str) -> Run:
    """Train as `python -m mnist_seq.train` does, and return the run."""
    from mnist_seq import cli, compose_config
    from mnist_seq.config import TrainConfig
    from mnist_seq.train import print_summary
    from mnist_seq.training.fit import train, unique_run_dir

    cfg, default_dir, is_default = compose_config.compose("train", list(overrides), single_run=True)
    config = compose_config.to_dataclass(cfg, TrainConfig)
    with cli.escape_unencodable(), unique_run_dir(config, default_dir, is_default) as run_dir:
        run = train(config, run_dir, overrides=list(overrides))
        print_summary(run)
    return run


def scenes(data: str, *overrides: str, split: str = "train", seed: int = 0) -> SceneDataset:
    """A lazy sequence of scenes, with `len`, `[i]`, `[a:b]` and `.render(ids, device=...)`.

    Args:
        data: a preset, such as "grid".
        overrides: such as "data.rows=3".
        split: train, val or test; only train is augmented.
        seed: seed of the scenes of every split.

    Raises:
        UserError: unknown split, or invalid config.
    """
    from mnist_seq.config.validation import check_choice
    from mnist_seq.data import datasets

    splits = datasets.load(replace(compose(f"data={data}", *overrides).data, scene_seed=seed), seed).splits
    check_choice("split", split, splits)
    return splits[split]


def load(path: str | os.PathLike[str], device: torch.device | str = "cpu", trust: bool | str | None = None) -> Reader:
    """Load a model from a run directory, weights (.safetensors), a checkpoint, or `pretrained:NAME`.

    Args:
        path: a bare NAME means `pretrained:NAME` if no path has that name.
        device: device of the model.
        trust: run code from outside the package that a custom model names: True for any, or the name of a module.

    Raises:
        UserError: nothing there, or nothing that can be loaded.
    """
    from mnist_seq.inference import pretrained
    from mnist_seq.inference.reader import load as load_reader

    return load_reader(pretrained.expand_name(path), device, trust)
