"""All that is said of a reader, from what it read.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mnist_seq.judging import verdicts
from mnist_seq.judging.calibration import Calibration, calibration
from mnist_seq.judging.intervals import Kin, Share, share
from mnist_seq.judging.strata import Stratum, overlaps, strata
from mnist_seq.judging.verdicts import Verdict
from mnist_seq.nn.decoding import Readout
from mnist_seq.tokens import decode


@dataclass(frozen=True)
class Readings:
    """What was read in the first scenes of a set, beside what they show; on the CPU."""

    split: str
    readout: Readout
    digits: Tensor
    """B N, int64, PAD after the last."""
    boxes: Tensor
    """B N 4, as `Scenes` has them."""
    sources: Tensor
    """B N, as `Scenes` has them."""
    ordered: bool
    """Whether the order counts."""
    margins: Tensor | None
    """B, pixels that decide the order, where it hangs on pixels."""
    loss: float
    """Mean cross-entropy a target, teacher-forced, nats."""

    def __len__(self) -> int:
        return len(self.digits)

    @property
    def several(self) -> Tensor:
        """Which scenes show two known boxes or more; B, bool."""
        return ((self.boxes[..., 2:] > self.boxes[..., :2]).all(-1)).sum(1) > 1

    @cached_property
    def overlaps(self) -> Tensor:
        """The largest intersection over union of any two boxes of each scene; B."""
        return overlaps(self.boxes)


@dataclass(frozen=True)
class Judgement:
    """The figures of a split, each with its 95 % interval."""

    readings: Readings
    verdict: Verdict
    figures: dict[str, Share]
    kinds: dict[str, Tensor]
    """What went wrong in each reading that is not right: each has one kind; B each, bool."""
    edits: Tensor
    """B, int64: digits to put in, leave out or replace until the reading is right; of sets, of ascending digits."""
    confusion: Tensor
    """10 11, int64: true digit by read digit, the last column for none."""
    calibration: Calibration
    strata: dict[str, list[Stratum]]

    @property
    def wrong(self) -> Tensor:
        """Scenes that were not read right, the surest first; ids."""
        ids = (self.verdict.exact == 0).nonzero()[:, 0]
        return ids[self.readings.readout.score[ids].argsort(descending=True, stable=True)]

    def summary(self) -> dict[str, Any]:
        """What metrics.json keeps under the split's name."""
        figures: dict[str, Any] = {"scenes": len(self.readings), "loss": self.readings.loss}
        for name, (value, low, high, _) in self.figures.items():
            figures |= {name: value, f"{name}_interval": [low, high]}
        return figures | {
            "edits_a_digit": float(self.edits.sum() / self.verdict.digits.sum().clamp(min=1)),
            "errors": {kind: int(these.sum()) for kind, these in self.kinds.items()},
            "calibration_error": self.calibration.error,
            "confusion": self.confusion.tolist(),
        }

    def everything(self) -> dict[str, Any]:
        """What judgement.json holds: the summary, strata and calibration."""
        return self.summary() | {
            "strata": {
                what: [{"name": name, **share._asdict()} for name, share in each] for what, each in self.strata.items()
            },
            "calibration": {
                "bins": [each._asdict() for each in self.calibration.bins],
                "selective": [{"coverage": part, "right": right} for part, right in self.calibration.selective],
            },
        }

    def rows(self) -> list[dict[str, Any]]:
        """A line a scene, for scenes.csv."""
        readings, readout = self.readings, self.readings.readout
        kind = [""] * len(readings)
        for name, these in self.kinds.items():
            for id_ in these.nonzero()[:, 0].tolist():
                kind[id_] = name
        several = readings.several.tolist()
        overlap = [round(each, 4) for each in readings.overlaps.tolist()]
        margin = [""] * len(readings) if readings.margins is None else readings.margins.tolist()
        columns = {
            "id": range(len(readings)),
            "digits": [" ".join(map(str, each)) for each in decode(readings.digits)],
            "read": [" ".join(map(str, each)) for each in decode(readout.digits)],
            "right": self.verdict.exact.int().tolist(),
            "confidence": [round(each, 6) for each in readout.confidence.tolist()],
            "error": kind,
            "edits": self.edits.tolist(),
            "overlap": [each if many else "" for many, each in zip(several, overlap, strict=True)],
            "margin": [each if many else "" for many, each in zip(several, margin, strict=True)],
            "sources": [" ".join(str(it) for it in each if it >= 0) for each in readings.sources.tolist()],
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def judge(readings: Readings) -> Judgement:
    """Say of readings all that can be said."""
    verdict = verdicts.judge(readings.readout, readings.digits, readings.ordered)
    kin = Kin(readings.sources)
    ones = torch.ones_like(verdict.exact)
    shares = {
        name: share(getattr(verdict, top), getattr(verdict, bottom) if bottom else ones, kin)
        for name, (top, bottom) in verdicts.MEASURES.items()
    }
    return Judgement(
        readings=readings,
        verdict=verdict,
        figures=shares,
        kinds=verdicts.kinds(verdict),
        edits=_edits(readings, verdict),
        confusion=verdicts.confusion(readings.readout, readings.digits, readings.ordered),
        calibration=calibration(readings.readout.confidence, verdict.exact),
        strata=strata(readings, verdict.exact, kin),
    )


def _edits(readings: Readings, verdict: Verdict) -> Tensor:
    edits = torch.zeros(len(readings), dtype=torch.int64)
    wrong = (verdict.exact == 0).nonzero()[:, 0]
    both = (decode(each[wrong]) for each in (readings.readout.digits, readings.digits))
    for id_, read, truth in zip(wrong.tolist(), *both, strict=True):
        edits[id_] = verdicts.edits(read, truth) if readings.ordered else verdicts.edits(sorted(read), sorted(truth))
    return edits
