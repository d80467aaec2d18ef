"""Scenes to look at or to keep: `python -m mnist_seq.synthesise data=scatter look=true`, or `to=DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import command
from mnist_seq.config import SynthesiseConfig
from mnist_seq.errors import UserError
from mnist_seq.plain import plain

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

    from mnist_seq.data.sets import Sets


def main() -> None:
    command.run("synthesise", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console
    from rich.markup import escape

    from mnist_seq.data import sets

    config, console = command.typed(cfg, SynthesiseConfig), Console()
    config.data.scene_seed = config.seed
    loaded = sets.load(config.data, config.seed)
    if config.split not in loaded.splits:
        raise UserError(f"split={config.split} is not to be had: choose from {', '.join(loaded.splits)}")
    if loaded.notice:
        console.print(f"[bold red]{escape(loaded.notice)}", soft_wrap=True)
    if config.look:
        path = look(config, loaded)
        look_at = f"{path}: a look at {config.data.family}, split {config.split}"
        console.print(look_at, highlight=False, markup=False, soft_wrap=True)
    if config.to:
        keep(config, loaded, console)


def look(config: SynthesiseConfig, loaded: Sets) -> Path:
    """Draw a contact sheet, and say where."""
    from mnist_seq.figures import plots

    path = Path("outputs") / f"{_preset() or config.data.family}.png" if config.look is True else Path(config.look)
    scenes = loaded.splits[config.split]
    shown = scenes[: min(24 if config.scenes is None or config.to else config.scenes, len(scenes))]
    title = f"{_preset() or config.data.family}, split {config.split}, seed {config.seed}"
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.save(plots.contact_sheet(shown, title, loaded.notice), path)
    return path


def keep(config: SynthesiseConfig, loaded: Sets, console: Console) -> None:
    """Write a data set, with a bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mnist_seq.data import archive

    if config.data.family == "folder":
        raise UserError("data=folder is on disk already: choose a scene family")
    number, target = config.scenes or 10_000, Path(str(config.to))
    columns = [TextColumn("scenes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True)]
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("scenes", total=number)
        for done in archive.write(loaded.splits[config.split], number, card(config, loaded, number), target):
            progress.update(bar, completed=done)
    made = f"{target}: {number:,} scenes, with README.md and SHA256SUMS"
    console.print(made, highlight=False, markup=False, soft_wrap=True)


def card(config: SynthesiseConfig, loaded: Sets, number: int) -> dict[str, Any]:
    """How a data set was made: all that is needed to make it again."""
    from mnist_seq import __version__

    spec = loaded.splits[config.split].spec
    return {
        "family": config.data.family,
        "protocol": " ".join((type(config.data).__doc__ or "").split()),
        "split": config.split,
        "seed": config.seed,
        "scenes": number,
        "height": spec.height,
        "width": spec.width,
        "ordered": spec.ordered,
        "digits": loaded.source,
        "notice": loaded.notice,
        "licence": LICENCES.get(loaded.source, "that of the digits"),
        "made by": f"mnist_seq {__version__}",
        "data": plain(config.data),
    }


LICENCES = {
    "mnist": "MNIST is by Yann LeCun, Corinna Cortes and Christopher Burges, after NIST; CC BY-SA 3.0, and so is this",
    "uci": "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI; CC BY 4.0",
}


def _preset() -> str | None:
    """What data= was given."""
    from hydra.core.hydra_config import HydraConfig

    return str(HydraConfig.get().runtime.choices.get("data"))


if __name__ == "__main__":
    main()
