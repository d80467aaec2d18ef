"""An encoder-decoder Transformer that reads an image and writes its digits (Vaswani et al. 2017).

Shapes   B batch   L tokens   P patches   V vocabulary   D model width
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from mnist_seq import vocabulary as vocabulary
from mnist_seq.config import EncoderDecoderConfig, Spec
from mnist_seq.nn import decoding
from mnist_seq.nn.attention import KeyValue
from mnist_seq.nn.blocks import DecoderBlock, drop_path_rates, final_norm, init_weights
from mnist_seq.nn.encoder import Encoder
from mnist_seq.nn.model import Model
from mnist_seq.nn.positions import POS_EMBEDS


class Cache(NamedTuple):
    """What a reading has seen so far: keys and values of each decoder block."""

    cross_kv: tuple[KeyValue, ...]
    """Of the encoder's output, computed once an image."""
    self_kv: tuple[KeyValue, ...]
    """Of the tokens written so far."""

    def repeat(self, times: int) -> Cache:
        """Each image so many times, one after the other."""
        image, past = (tuple(kv.map(lambda part: part.repeat_interleave(times, 0)) for kv in each) for each in self)
        return Cache(image, past)

    def reorder(self, rows: Tensor) -> Cache:
        """The pasts of other rows of the same images."""
        return Cache(self.cross_kv, tuple(kv.map(lambda part: part[rows]) for kv in self.self_kv))


class EncoderDecoder(Model):
    """`forward` teaches; `read` reads, and never sees a label or its length."""

    output_type = "sequence"

    def __init__(self, config: EncoderDecoderConfig, spec: Spec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        longest = spec.max_length + 1  # BOS and every digit
        self.encoder = Encoder(config, spec)
        self.token_embed = nn.Embedding(len(vocabulary.VOCABULARY), config.dim)
        self.pos_embed = POS_EMBEDS[config.pos_embed]((longest,), config.dim, config.qk_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = nn.ModuleList(
            DecoderBlock(config, drop) for drop in drop_path_rates(config, config.decoder_depth)
        )
        self.norm = final_norm(config)
        self.lm_head = nn.Linear(config.dim, len(vocabulary.VOCABULARY))
        self.causal_mask: Tensor
        self.register_buffer("causal_mask", torch.ones(longest, longest, dtype=torch.bool).tril(), persistent=False)
        self.apply(init_weights)
        nn.init.trunc_normal_(self.token_embed.weight, std=self.pos_embed.token_init_std)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Logits of the token after each one given; B L V.

        Args:
            images: B 1 H W, uint8 or floats in [0, 1].
            tokens: B L, int64, BOS first.
        """
        return self.step(tokens, self.start(images))[0]

    def embed(self, images: Tensor) -> Tensor:
        """The encoder's summary: the mean of its output; B D."""
        return self.encoder(images).mean(1)

    def start(self, images: Tensor) -> Cache:
        """The cache of images of which nothing has been read yet."""
        memory = self.encoder(images)
        image = tuple(cast(DecoderBlock, block).cross_attention.project_kv(memory) for block in self.decoder)
        return Cache(image, tuple(KeyValue(seen.keys[:, :, :0], seen.values[:, :, :0]) for seen in image))

    def step(self, tokens: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Read on by L tokens: their logits, B L V, and the cache with them in it."""
        begin = cache.self_kv[0].keys.shape[2]
        end = begin + tokens.shape[1]
        x = self.dropout(self.pos_embed(self.token_embed(tokens), begin))
        turn = self.pos_embed.rope()
        turn = turn and turn.slice(begin, end)
        mask = self.causal_mask[begin:end, :end] if end - begin > 1 else None
        past = []
        for block, before, image in zip(self.decoder, cache.self_kv, cache.cross_kv, strict=True):
            x, now = block(x, before, image, mask, turn)
            past.append(now)
        return self.lm_head(self.norm(x)), Cache(cache.cross_kv, tuple(past))

    def read(self, images: Tensor) -> decoding.DecodeOutput:
        """The digits of each image, greedily."""
        return decoding.greedy(self, images)
