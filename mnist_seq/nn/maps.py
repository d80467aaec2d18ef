"""Where attention looks.

Shapes   B batch   H heads   L queries   S keys
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mnist_seq.nn.attention import Attention
from mnist_seq.nn.model import Model
from mnist_seq.tokens import encode


@torch.no_grad()
def attention_maps(model: Model, images: Tensor) -> dict[str, Tensor]:
    """Every layer's and head's attention while a model reads.

    The weights are computed anew beside the ordinary path, which never holds them and is left as it was.

    Args:
        images: B 1 H W.

    Returns:
        Name of each attention -> B H L S, each row a distribution: `encoder.blocks.0.attention` of patches (class
        tokens first) over patches, `decoder.0.attention` of written tokens (BOS first) over those up to themselves,
        `decoder.0.cross_attention` of written tokens over patches.
    """
    maps: dict[str, Tensor] = {}

    def looking(name: str) -> Callable[..., None]:
        def hook(attention: nn.Module, args: Any, kwargs: Any, found: Tensor) -> None:
            assert isinstance(attention, Attention)
            maps[name] = attention.weights(*args, **kwargs)

        return hook

    training = model.training
    model.eval()
    tokens = encode(model.read(images).digits)[:, :-1] if model.reads == "sequence" else None
    hooks = [
        part.register_forward_hook(looking(name), with_kwargs=True)
        for name, part in model.named_modules()
        if isinstance(part, Attention)
    ]
    try:
        model(images) if tokens is None else model(images, tokens)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return maps
