"""A report in one HTML file: no network, no server, no script.

Shapes   B scenes   H W canvas   T digits read
"""

from __future__ import annotations

import csv
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnist_seq.atomic import whole, write_whole
from mnist_seq.data.sets import SceneSet
from mnist_seq.figures import gallery, inline, plots, trends
from mnist_seq.figures.address import png
from mnist_seq.figures.light import lit
from mnist_seq.figures.tables import FIGURES
from mnist_seq.judging.judgement import Judgement
from mnist_seq.judging.verdicts import confusion
from mnist_seq.nn.decoding import Readout
from mnist_seq.nn.maps import over_image
from mnist_seq.nn.model import Model
from mnist_seq.run import Run
from mnist_seq.tokens import DIGITS, decode

_WORST, _PAIRS, _SCENES_A_PAIR, _LOOKED_AT, _SAMPLES = 28, 4, 7, 3, 14
_STEPS = 12
"""Digits of a reading whose attention is drawn."""
_SEARCHED = 500
"""Wrong readings in which examples of confused digits are looked for."""


@dataclass(frozen=True)
class Subject:
    """Whom a report is about."""

    name: str
    model: Model
    card: dict[str, Any]
    """What is said of the weights."""
    scenes: SceneSet
    """That it read."""
    source: str
    """Of their digits."""
    notice: str = ""
    """What whoever sees the report must be told."""
    taught: SceneSet | None = None
    """The scenes that it learnt from, where they are at hand."""
    run: Run | None = None
    """Where it was trained, where that is at hand."""


def write_judgement(judgement: Judgement, folder: Path) -> None:
    """judgement.json and scenes.csv, in a folder that is there."""
    write_whole(folder / "judgement.json", json.dumps(judgement.everything(), indent=2) + "\n")
    with whole(folder / "scenes.csv") as beside, beside.open("w", newline="", encoding="utf-8") as file:
        rows = judgement.rows()
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


def write(subject: Subject, judgement: Judgement, path: Path) -> None:
    """The report as a file."""
    write_whole(path, page(subject, judgement))


@torch.no_grad()
def page(subject: Subject, judgement: Judgement) -> str:
    """The report of a reader as HTML."""
    sections = {
        "figures": "figures",
        "strata": "where it reads well",
        "digits": "confused digits",
        "worst": "worst errors",
        "calibration": "calibration",
        "attention": "attention",
        "curves": "curves",
        "data": "data",
        "about": "about",
    }
    parts = (
        _figures(subject, judgement)
        | _strata(judgement)
        | _digits(subject, judgement)
        | _worst(subject, judgement)
        | _calibration(judgement)
        | _attention(subject, judgement)
        | _training(subject)
        | _about(subject)
    )
    missing = {"strata": "strata", "attention": "looks", "curves": "curves", "data": "samples"}
    shown = [(id_, title) for id_, title in sections.items() if id_ not in missing or parts[missing[id_]]]
    return inline.render("report.html", sections=shown, **parts)


def _figures(subject: Subject, judgement: Judgement) -> dict[str, Any]:
    summary, readings = judgement.summary(), judgement.readings
    metrics = subject.run.metrics if subject.run else {}
    parameters = sum(weight.numel() for weight in subject.model.parameters())
    facts = [f"{subject.model.config.name}", f"{parameters:,} parameters", f"digits: {subject.source}"]
    if "scenes" in metrics:
        facts.append(f"{metrics['scenes']:,} training scenes")
        facts.append(f"{metrics['seconds'] / 60:.1f} minutes on {metrics['device']}")
    if "seed" in metrics:
        facts.append(f"seed {metrics['seed']}")
    return {
        "name": subject.name,
        "headline": f"{judgement.figures['exact_match'].value:.2%}",
        "notice": subject.notice,
        "family": getattr(getattr(subject.scenes, "config", None), "family", "folder"),
        "split": readings.split,
        "scenes": len(readings),
        "figures": judgement.figures,
        "facts": facts,
        "table": [(FIGURES[name], it) for name, it in judgement.figures.items()],
        "loss": readings.loss,
        "edits": summary["edits_a_digit"],
        "wrong": len(judgement.wrong),
        "kinds": summary["errors"],
        "shown_height": gallery.height(subject.scenes),
    }


def _strata(judgement: Judgement) -> dict[str, Any]:
    least = min((it.share.low for each in judgement.strata.values() for it in each), default=0.0)
    return {"strata": judgement.strata, "floor": int(10 * least) / 10}


def _digits(subject: Subject, judgement: Judgement) -> dict[str, Any]:
    counts = judgement.confusion
    rows = counts.sum(1, keepdim=True).clamp(min=1)
    wrong = counts.clone()
    wrong[:, :DIGITS].fill_diagonal_(0)
    shares, errors = counts / rows, wrong / rows
    shades = torch.where(wrong > 0, (errors / errors.max().clamp(min=1e-9)).sqrt() * 0.7, shares * 0.6).tolist()
    found = sorted(wrong.nonzero().tolist(), key=lambda pair: -int(wrong[tuple(pair)]))[:_PAIRS]
    examples = _examples(judgement, found)
    return {
        "columns": [*map(str, range(DIGITS)), "none"],
        "confusion": [
            [
                {"count": count, "shade": round(shades[row][column], 3) if count else 0, "right": row == column}
                for column, count in enumerate(each)
            ]
            for row, each in enumerate(counts.tolist())
        ],
        "confused": _said_of_pairs(wrong),
        "pairs": [
            {
                "title": f"{truth} {f'read as {read}' if read < DIGITS else 'not read'}: {int(wrong[truth, read]):,}",
                "scenes": gallery.read(subject.scenes, judgement, examples[(truth, read)]),
            }
            for truth, read in found
        ],
    }


def _said_of_pairs(wrong: Tensor) -> str:
    """The pairs that are most often taken for each other, and the old question."""
    total = int(wrong.sum())
    if not total:
        return "Every digit was read right."
    both = wrong[:, :DIGITS] + wrong[:, :DIGITS].T
    pairs = sorted(((int(both[a, b]), a, b) for a in range(DIGITS) for b in range(a)), reverse=True)
    top = ", ".join(f"{b} and {a} ({count / total:.0%})" for count, a, b in pairs[:3] if count)
    ones = int(both[1, 9])
    old = f"1 and 9 are {ones / total:.0%} of them." if (9, 1) not in [(a, b) for _, a, b in pairs[:3]] else ""
    none = int(wrong[:, DIGITS].sum())
    missed = f" {none / total:.0%} were not read at all." if none else ""
    taken = f" Most often taken for each other: {top}." if top else ""
    return f"{total:,} digits were not read right.{taken}{missed} {old}"


def _examples(judgement: Judgement, pairs: list[list[int]]) -> dict[tuple[int, int], list[int]]:
    """Scenes in which one digit was read as another, the surest first; ids."""
    readings = judgement.readings
    found: dict[tuple[int, int], list[int]] = {(truth, read): [] for truth, read in pairs}
    for id_ in judgement.wrong[:_SEARCHED].tolist():
        alone = Readout(*(part[id_ : id_ + 1] for part in readings.readout[:4]))
        counts = confusion(alone, readings.digits[id_ : id_ + 1], readings.ordered)
        for (truth, read), ids in found.items():
            if counts[truth, read] and len(ids) < _SCENES_A_PAIR:
                ids.append(id_)
    return found


def _worst(subject: Subject, judgement: Judgement) -> dict[str, Any]:
    return {"worst": gallery.read(subject.scenes, judgement, judgement.wrong[:_WORST].tolist())}


def _calibration(judgement: Judgement) -> dict[str, Any]:
    coverage, right = next(it for it in judgement.calibration.selective if it[0] == 0.9)
    return {
        "calibration_error": judgement.calibration.error,
        "halfway": {"coverage": coverage, "right": right},
        "reliability": inline.svg(plots.reliability(judgement.calibration), "reliability"),
    }


def _attention(subject: Subject, judgement: Judgement) -> dict[str, Any]:
    right = (judgement.verdict.exact > 0).nonzero()[:, 0]
    full = right[judgement.verdict.digits[right].argsort(descending=True, stable=True)][:2].tolist()
    ids = (full + judgement.wrong.tolist())[:_LOOKED_AT]
    scenes, digits = subject.scenes.render(ids), judgement.readings.readout.digits[ids]
    device, writes = next(subject.model.parameters()).device, subject.model.reads == "sequence"
    layers, looks = over_image(subject.model, scenes.images.to(device), digits.to(device)), []
    pictures = gallery.read(subject.scenes, judgement, ids)
    for place, (it, read) in enumerate(zip(pictures, decode(digits), strict=True)):
        image, named = scenes.images[place, 0].numpy(force=True) / 255, []
        for name, maps in layers.items():
            turns = maps[place].numpy(force=True)  # heads, T H W
            cells = ["all cells"] if turns.shape[1] == 1 else [f"cell {at + 1}" for at in range(turns.shape[1])]
            titles = [*map(str, read), "end"] if writes else cells
            many = min(turns.shape[1], len(titles), _STEPS)
            heads = [[png(lit(image, turns[head, step])) for step in range(many)] for head in range(turns.shape[0])]
            named.append({"name": name.replace(".", " ").replace("_", " "), "steps": titles[:many], "heads": heads})
        if named:
            looks.append(it | {"layers": named})
    return {"looks": looks}


def _training(subject: Subject) -> dict[str, Any]:
    rows = subject.run.rows if subject.run else []
    taught = subject.taught
    samples = gallery.shown(taught, list(range(min(_SAMPLES, len(taught))))) if taught is not None else []
    return {"curves": inline.svg(trends.curves(rows), "curves") if rows else "", "samples": samples}


def _about(subject: Subject) -> dict[str, Any]:
    metrics = subject.run.metrics if subject.run else {}
    environment = {key: metrics[key] for key in ("id", "revision", "device", "precision") if metrics.get(key)}
    environment["overrides"] = " ".join(metrics.get("overrides", []))
    environment |= metrics.get("versions", {})
    environment["report made on"] = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    if subject.run:
        config = subject.run.text
    else:
        config = json.dumps({key: it for key, it in subject.card.items() if key in ("model", "data", "loss")}, indent=2)
    return {"environment": {key: it for key, it in environment.items() if it}, "config": config}
