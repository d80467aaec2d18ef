"""An encoder-decoder Transformer that predicts the digits of an image token by token (Vaswani et al. 2017).

Shapes: B batch, Y X image, L tokens, V vocabulary, D model width.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from mnist_seq.config import EncoderDecoderConfig, Spec
from mnist_seq.nn.attention import KeyValue
from mnist_seq.nn.blocks import DecoderBlock, Float32Linear, final_norm, init_weights
from mnist_seq.nn.decoding import DecodeOutput, greedy
from mnist_seq.nn.encoder import Encoder
from mnist_seq.nn.model import Model
from mnist_seq.nn.positions import POS_EMBEDS
from mnist_seq.vocabulary import VOCABULARY


class Cache(NamedTuple):
    """Keys and values of each decoder block."""

    cross_kv: tuple[KeyValue, ...]
    """Of the encoder's output, computed once per image."""
    self_kv: tuple[KeyValue, ...]
    """Of the tokens so far."""

    def repeat(self, times: int) -> Cache:
        """Repeat each row `times` times, the copies next to each other."""
        cross_kv, self_kv = (
            tuple(kv.map(lambda part: part.repeat_interleave(times, 0)) for kv in layers) for layers in self
        )
        return Cache(cross_kv, self_kv)

    def reorder(self, rows: Int[Tensor, " B"]) -> Cache:
        """Take the tokens of other rows; each must belong to the same image."""
        return Cache(self.cross_kv, tuple(kv.map(lambda part: part[rows]) for kv in self.self_kv))


class EncoderDecoder(Model):
    """Encoder-decoder Transformer. `forward` is teacher-forced; `read` sees neither a label nor its length."""

    output_type = "sequence"

    def __init__(self, config: EncoderDecoderConfig, spec: Spec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        max_tokens = spec.max_length + 1  # BOS and every digit
        self.encoder = Encoder(config, spec)
        self.token_embed = nn.Embedding(len(VOCABULARY), config.dim)
        self.pos_embed = POS_EMBEDS[config.pos_embed]((max_tokens,), config.dim, config.qk_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.decoder_depth))
        self.norm = final_norm(config)
        self.lm_head = Float32Linear(config.dim, len(VOCABULARY))
        self.causal_mask: Tensor
        self.register_buffer("causal_mask", torch.ones(max_tokens, max_tokens, dtype=torch.bool).tril(), False)
        self.apply(init_weights)
        nn.init.trunc_normal_(self.token_embed.weight, std=self.pos_embed.token_init_std)

    def forward(self, images: Num[Tensor, "B 1 Y X"], tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L V"]:
        """Compute the logits of the token after each given one.

        Args:
            images: uint8 grey levels, or floats in [0, 1].
            tokens: BOS first.
        """
        return self.step(tokens, self.start(images))[0]

    def embed(self, images: Num[Tensor, "B 1 Y X"]) -> Float[Tensor, "B D"]:
        """Summarize each image by the mean of the encoder's output."""
        return self.encoder(images).mean(1)

    def start(self, images: Num[Tensor, "B 1 Y X"]) -> Cache:
        """Encode images: the cache before the first token."""
        memory = self.encoder(images)
        cross_kv = tuple(cast(DecoderBlock, block).cross_attention.project_kv(memory) for block in self.decoder)
        return Cache(cross_kv, tuple(kv.map(lambda part: part[:, :, :0]) for kv in cross_kv))

    def step(self, tokens: Int[Tensor, "B L"], cache: Cache) -> tuple[Float[Tensor, "B L V"], Cache]:
        """Decode L more tokens: return their logits, and the cache extended by them."""
        start = cache.self_kv[0].keys.shape[2]
        end = start + tokens.shape[1]
        x = self.dropout(self.pos_embed(self.token_embed(tokens), start))
        rope = self.pos_embed.rope()
        rope = rope and rope.slice(start, end)
        mask = self.causal_mask[start:end, :end] if end - start > 1 else None
        extended = []
        for block, self_kv, cross_kv in zip(self.decoder, cache.self_kv, cache.cross_kv, strict=True):
            x, self_kv = block(x, self_kv, cross_kv, mask, rope)
            extended.append(self_kv)
        return self.lm_head(self.norm(x)), Cache(cache.cross_kv, tuple(extended))

    def read(self, images: Num[Tensor, "B 1 Y X"]) -> DecodeOutput:
        """Decode greedily."""
        return greedy(self, images)
