"""Where attention looks.

Shapes   B batch   H heads   L queries   S keys   T digits read   Y X canvas
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mnist_seq.nn.attention import Attention
from mnist_seq.nn.model import Model
from mnist_seq.nn.patch_embed import PatchEmbed
from mnist_seq.vocabulary import encode


@torch.no_grad()
def compute_attention_maps(model: Model, images: Tensor, digits: Tensor | None = None) -> dict[str, Tensor]:
    """Every layer's and head's attention while a model reads.

    The weights are computed anew beside the ordinary path, which never holds them and is left as it was.

    Args:
        images: B 1 H W.
        digits: B N, what is read in them, PAD after the last; by default what the model reads greedily.

    Returns:
        Name of each attention -> B H L S, each row a distribution: `encoder.blocks.0.attention` of patches (class
        tokens first) over patches, `decoder.0.attention` of written tokens (BOS first) over those up to themselves,
        `decoder.0.cross_attention` of written tokens over patches.
    """
    maps: dict[str, Tensor] = {}

    def looking(name: str) -> Callable[..., None]:
        def hook(attention: nn.Module, args: Any, kwargs: Any, found: Tensor) -> None:
            assert isinstance(attention, Attention)
            maps[name] = attention.attention_weights(*args, **kwargs)

        return hook

    training = model.training
    model.eval()
    tokens = None
    if model.output_type == "sequence":
        tokens = encode(model.read(images).digits if digits is None else digits)[:, :-1]
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


def attention_on_image(model: Model, images: Tensor, digits: Tensor | None = None) -> dict[str, Tensor]:
    """Where on the image each head looks for each digit that it reads, and for the end.

    Args:
        images: B 1 H W.
        digits: B N, what is read in them; by default what the model reads greedily.

    Returns:
        Name of each attention that reads off the image -> B H T Y X, for each pixel the weight of its patch: of a
        writer the decoder's over patches, of a reader by cells that of its class tokens. Nothing of a model without
        such attention.
    """
    patches = next((part for part in model.modules() if isinstance(part, PatchEmbed)), None)
    if patches is None:
        return {}
    (rows, cols), (height, width), found = patches.grid_size, patches.image_size, {}
    side = (height + patches.padding[-1]) // rows
    for name, weights in compute_attention_maps(model, images, digits).items():
        others = weights.shape[-1] - rows * cols
        if model.output_type == "cells" and others > 0:
            weights = weights[:, :, :others, others:]
        elif model.output_type != "sequence" or not name.endswith("cross_attention") or others:
            continue
        pixels = weights.unflatten(-1, (rows, cols)).repeat_interleave(side, -2).repeat_interleave(side, -1)
        found[name] = pixels[..., :height, :width]
    return found
