"""Transformers, written from scratch, that read digit sequences from images.

    run = mnist_seq.fit("model=enc_dec", "data=grid", "trainer.max_steps=500")
    mnist_seq.load(run.path).read("photo.png").digits

Heavy packages are imported only when a function that needs them is called.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    import torch

    from mnist_seq.config import TrainConfig
    from mnist_seq.data.datamodule import SceneDataModule
    from mnist_seq.data.scene_dataset import SceneDataset
    from mnist_seq.inference.reader import Reader
    from mnist_seq.run_dir import Run
    from mnist_seq.training.module import ReaderModule

__version__ = "0.1.0"
__all__ = ["build", "compose", "fit", "load", "scenes"]


def compose(*overrides: str) -> TrainConfig:
    """Compose the config of a training run from overrides, as on the command line.

    Raises:
        UserError: an unknown key or preset, a value of the wrong type, or values that do not fit together.
    """
    from mnist_seq.compose_config import compose_training

    return compose_training(list(overrides))


def build(*overrides: str) -> tuple[ReaderModule, SceneDataModule]:
    """Build the LightningModule and the data module, for your own Trainer.

        lightning.Trainer(max_steps=9).fit(*mnist_seq.build("data=grid"))

    Args:
        overrides: as for `compose`.
    """
    from mnist_seq.training.build import build_module_and_data

    return build_module_and_data(compose(*overrides))


def fit(*overrides: str) -> Run:
    """Train as `python -m mnist_seq.train` does, and return the run.

    Args:
        overrides: as for `compose`; `hydra.run.dir=...` names the run directory.
    """
    from mnist_seq.training.fit import fit as fit_run

    return fit_run(list(overrides))


def scenes(data: str, *overrides: str, split: str = "train", seed: int = 0) -> SceneDataset:
    """Load the scenes of a split as a lazy sequence: `len`, `[i]`, `[a:b]`, `.render(ids, device=...)`.

    Args:
        data: a preset, such as "grid".
        overrides: such as "data.rows=3".
        split: train, val or test; only train is augmented.
        seed: of the scenes.

    Raises:
        UserError: an unknown split, or values that do not fit together.
    """
    from mnist_seq.config.validation import check_choice
    from mnist_seq.data import datasets

    splits = datasets.load(replace(compose(f"data={data}", *overrides).data, scene_seed=seed), seed).splits
    check_choice("split", split, splits)
    return splits[split]


def load(
    path: str | os.PathLike[str] = "pretrained:line",
    device: torch.device | str = "cpu",
    trust: bool | str | None = None,
) -> Reader:
    """Load a trained model from a run directory, weights (.safetensors), a checkpoint, or `pretrained:NAME`.

    Args:
        path: which model; a bare NAME means a pretrained model, if there is no such path. `line` reads numbers in one
            or several rows.
        device: where the model runs.
        trust: True, or the name of a module, allows a custom model, whose code is run.

    Raises:
        NotFoundError: there is no such model.
        UserError: it cannot be loaded.
    """
    from mnist_seq.inference import pretrained
    from mnist_seq.inference.reader import load as load_reader

    return load_reader(pretrained.expand_name(path), device, trust)
