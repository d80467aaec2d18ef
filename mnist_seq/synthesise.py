"""Render scenes as a contact sheet or a dataset.

python -m mnist_seq.synthesise data=scatter preview=true
python -m mnist_seq.synthesise data=scatter output_dir=outputs/scatter
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import cli
from mnist_seq.atomic_io import make_dir
from mnist_seq.config import SynthesiseConfig
from mnist_seq.config.serialization import to_dict
from mnist_seq.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from mnist_seq.data.datasets import DatasetSplits


def main() -> None:
    cli.run_command("synthesise", _job)


def _job(config: SynthesiseConfig, run_dir: Path) -> None:
    from rich.console import Console
    from rich.markup import escape

    from mnist_seq.data import datasets

    console = Console(highlight=False, soft_wrap=True)
    config.data.scene_seed = config.seed
    loaded = datasets.load(config.data, config.seed)
    if config.split not in loaded.splits:
        raise UserError(f"split={config.split} does not exist: choose from {', '.join(loaded.splits)}")
    if loaded.notice:
        console.print(f"[bold red]{escape(loaded.notice)}")
    if config.preview:
        path = draw_contact_sheet(config, loaded)
        console.print(f"{path}: contact sheet of {config.data.family}, split {config.split}", markup=False)
    if config.output_dir:
        write_dataset(config, loaded, console)


def draw_contact_sheet(config: SynthesiseConfig, datasets: DatasetSplits) -> Path:
    """Draw a contact sheet of a split; return its path."""
    from hydra.core.hydra_config import HydraConfig

    from mnist_seq.reporting import plots

    name = HydraConfig.get().runtime.choices["data"]
    path = Path("outputs") / f"{name}.png" if config.preview is True else Path(config.preview)
    scenes = datasets.splits[config.split]
    num_scenes = 24 if config.scenes is None or config.output_dir else config.scenes
    shown = scenes[: min(num_scenes, len(scenes))]
    title = f"{name}, split {config.split}, seed {config.seed}"
    make_dir("preview", path.parent)
    plots.save_figure(plots.contact_sheet(shown, title, datasets.notice), path)
    return path


def write_dataset(config: SynthesiseConfig, datasets: DatasetSplits, console: Console) -> None:
    """Write a dataset, with a progress bar.

    Raises:
        UserError: the scenes are an image folder.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mnist_seq.data import export_dataset

    if config.data.family == "folder":
        raise UserError("data=folder is on disk already: choose a scene family")
    num_scenes, output_dir = config.scenes or 10_000, Path(str(config.output_dir))
    columns = [TextColumn("scenes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True)]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("scenes", total=num_scenes)
        for num_written in export_dataset.write_dataset(
            datasets.splits[config.split], num_scenes, dataset_card(config, datasets, num_scenes), output_dir
        ):
            progress.update(task, completed=num_written)
    console.print(f"{output_dir}: {num_scenes:,} scenes, with README.md and SHA256SUMS", markup=False)


def dataset_card(config: SynthesiseConfig, datasets: DatasetSplits, num_scenes: int) -> dict[str, Any]:
    """Describe a dataset: all that is needed to render it again."""
    from mnist_seq import __version__
    from mnist_seq.config.migrations import SCHEMA_VERSION
    from mnist_seq.data.sources import LICENSES

    spec = datasets.splits[config.split].spec
    return {
        "schema_version": SCHEMA_VERSION,
        "family": config.data.family,
        "protocol": " ".join((type(config.data).__doc__ or "").split()),
        "split": config.split,
        "seed": config.seed,
        "scenes": num_scenes,
        "height": spec.height,
        "width": spec.width,
        "ordered": spec.ordered,
        "digits": datasets.source,
        "notice": datasets.notice,
        "license": LICENSES.get(datasets.source, "the license of the digits"),
        "created_by": f"mnist_seq {__version__}",
        "data": to_dict(config.data),
    }


if __name__ == "__main__":
    main()
