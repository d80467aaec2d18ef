"""SceneDataset: the scenes of one split, rendered on demand.

Shapes   B scenes
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Int
from torch import Tensor

from mnist_seq.config import Spec
from mnist_seq.data.labels import Label
from mnist_seq.data.render import SceneBatch


class SceneDataset(ABC):
    """Scenes of one split: `[i]` and `[a:b]` render scenes on the CPU, `render` any ids on any device.

    Args:
        split: train, val or test.
        spec: shape of the problem.
        length: number of scenes.
        scenes_per_epoch: number of scenes that count as one epoch.
        fixed: every epoch shows the same scenes, not fresh ones.
    """

    varies = False
    """Whether each epoch changes the scenes anew: in epoch e, scene i has the id i + e * len."""
    labels: list[Label] | None = None
    """One per image on disk; None for synthetic scenes."""
    writer_column = "writer"
    """Column of the labels with what images may share: whoever wrote them."""

    def __init__(self, split: str, spec: Spec, length: int, scenes_per_epoch: int, fixed: bool) -> None:
        self.split, self.spec = split, spec
        self.scenes_per_epoch, self.fixed = scenes_per_epoch, fixed
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | slice) -> SceneBatch:
        """Render one scene, as a batch of one, or a slice.

        Raises:
            IndexError: `index` is out of range.
        """
        if isinstance(index, slice):
            return self.render(list(range(*index.indices(len(self)))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        return self.render([index % len(self)])

    def render(self, ids: Int[Tensor, "B"] | list[int], device: torch.device | str | None = None) -> SceneBatch:
        """Render the scenes with these ids.

        Args:
            ids: in any order.
            device: where to render; by default the device of `ids`.
        """
        return self._render(torch.as_tensor(ids, dtype=torch.int64, device=device))

    def order_margins(self, ids: Int[Tensor, "B"]) -> Int[Tensor, "B"] | None:
        """Compute the smallest move of a digit that would change the reading order, pixels; None if unknown."""
        return None

    @abstractmethod
    def _render(self, ids: Tensor) -> SceneBatch: ...
