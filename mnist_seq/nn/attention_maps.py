"""Attention weights of a model, per layer and head, for inspection and for plots.

Shapes: B batch, H heads, L queries, S keys, N longest sequence, T tokens or cells read, R C rows and columns of
patches, Y X image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from mnist_seq.nn.attention import Attention, attention_weights
from mnist_seq.nn.model import Model
from mnist_seq.nn.patch_embed import find_patch_embed
from mnist_seq.vocabulary import encode


@torch.no_grad()
def compute_attention_maps(
    model: Model, images: Num[Tensor, "B 1 Y X"], digits: Int[Tensor, "B N"] | None = None
) -> dict[str, Float[Tensor, "B H L S"]]:
    """Compute the attention weights of every layer and head while a model reads images.

    Args:
        images: uint8 grey levels, or floats in [0, 1].
        digits: the sequence that the decoder is given, PAD after the last digit; by default its own greedy prediction.

    Returns:
        Module name -> weights, each row over S a distribution. `encoder.blocks.0.attention`: patches (class tokens
        first) over patches; `decoder.0.attention`: tokens (BOS first) over themselves and earlier ones;
        `decoder.0.cross_attention`: tokens over patches.
    """
    training, inputs = model.training, [images]
    try:
        model.eval()
        if model.output_type == "sequence":
            inputs.append(encode(model.read(images).digits if digits is None else digits)[:, :-1])
        with record_attention(model) as maps:
            model(*inputs)
    finally:
        model.train(training)
    return maps


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the attention weights of a model while it runs: module name -> B H L S, of its last call.

    Forward hooks compute the weights a second time, and are gone afterwards.
    """
    maps: dict[str, Tensor] = {}

    def record(name: str, attention: Attention, args: Any, kwargs: Any, output: Tensor) -> None:
        call = signature(attention.forward).bind(*args, **kwargs).arguments
        queries = attention.project_q(call["x"], call.get("rope"))
        maps[name] = attention_weights(queries, call["kv"].keys, call.get("mask"))

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, Attention):
                hooks.enter_context(module.register_forward_hook(partial(record, name), with_kwargs=True))
        yield maps


def attention_on_image(
    model: Model, images: Num[Tensor, "B 1 Y X"], digits: Int[Tensor, "B N"] | None = None
) -> dict[str, Float[Tensor, "B H T Y X"]]:
    """Map the attention of each predicted token or cell back onto the pixels of the image.

    Args and result are those of `attention_on_patches`, but each pixel has the weight of its patch.
    """
    patch_embed, on_image = find_patch_embed(model), {}
    for name, weights in attention_on_patches(model, images, digits).items():
        assert patch_embed is not None
        pixels = weights.repeat_interleave(patch_embed.patch_size, -2).repeat_interleave(patch_embed.patch_size, -1)
        on_image[name] = pixels[..., : images.shape[-2], : images.shape[-1]]
    return on_image


def attention_on_patches(
    model: Model, images: Num[Tensor, "B 1 Y X"], digits: Int[Tensor, "B N"] | None = None
) -> dict[str, Float[Tensor, "B H T R C"]]:
    """Compute the attention of each predicted token or cell over the patches of the image.

    Args:
        images: uint8 grey levels, or floats in [0, 1].
        digits: as for `compute_attention_maps`.

    Returns:
        Module name -> weights over rows and columns of patches. A sequence model has one entry per cross-attention, a
        cell model one per encoder layer, of its class tokens. Empty for a model without such attention.
    """
    patch_embed = find_patch_embed(model)
    if patch_embed is None:
        return {}
    (rows, cols), on_patches = patch_embed.grid_size, {}
    for name, weights in compute_attention_maps(model, images, digits).items():
        num_class_tokens = weights.shape[-1] - rows * cols
        if model.output_type == "cells" and num_class_tokens > 0:
            weights = weights[:, :, :num_class_tokens, num_class_tokens:]
        elif model.output_type != "sequence" or not name.endswith("cross_attention") or num_class_tokens:
            continue
        on_patches[name] = weights.unflatten(-1, (rows, cols))
    return on_patches
