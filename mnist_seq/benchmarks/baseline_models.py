"""Baselines: the encoder-decoder built from other libraries, equally wide and deep, trained with the same loss.

The torch.nn model has exactly our parameters. Those of x-transformers and Hugging Face differ in norms and biases, by
1 % of the parameters at most.

Shapes   B scenes   H W canvas   P patches   L tokens   D width   V vocabulary
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_seq.config import EncoderDecoderConfig, Spec
from mnist_seq.data.render import SceneBatch
from mnist_seq.vocabulary import BOS, EOS, PAD, VOCABULARY


class BaselineModel(NamedTuple):
    """A model of another library behind our interface."""

    model: nn.Module
    logits: Callable[[Tensor, Tensor], Tensor]
    """(images, B 1 H W, uint8; tokens, B L) -> logits, B L V, teacher-forced."""
    read: Callable[[Tensor], Any]
    """Greedy decoding of images, B 1 H W, uint8: always as many steps as the longest sequence takes."""

    def loss(self, batch: SceneBatch, label_smoothing: float) -> Tensor:
        """The loss of our training, a scalar: cross-entropy averaged over the tokens that are not PAD."""
        logits, targets = self.logits(batch.images, batch.tokens[:, :-1]), batch.tokens[:, 1:]
        return F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, label_smoothing=label_smoothing
        )

    def inference_fn(self) -> Callable[[Tensor], Any]:
        """`read` in eval and inference mode."""
        self.model.eval()
        return torch.inference_mode()(self.read)


class TorchEncoderDecoder(nn.Module):
    """The model as torch's documentation suggests it: nn.Transformer's layers, pre-norm, learned positions."""

    def __init__(self, config: EncoderDecoderConfig, spec: Spec) -> None:
        super().__init__()
        self.patch_size, self.max_length = config.patch_size, spec.max_length + 1
        num_patches = (spec.height // config.patch_size) * (spec.width // config.patch_size)
        layer: dict[str, Any] = {"d_model": config.dim, "nhead": config.num_heads, "dim_feedforward": 4 * config.dim}
        layer |= {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.patch_proj = nn.Linear(config.patch_size**2, config.dim)
        self.pos_embed = nn.Parameter(torch.randn(num_patches, config.dim) * 0.02)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**layer),
            config.encoder_depth,
            nn.LayerNorm(config.dim),
            enable_nested_tensor=False,
        )
        self.token_embed = nn.Embedding(len(VOCABULARY), config.dim)
        self.token_pos_embed = nn.Parameter(torch.randn(self.max_length, config.dim) * 0.02)
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**layer), config.decoder_depth, nn.LayerNorm(config.dim)
        )
        self.head = nn.Linear(config.dim, len(VOCABULARY))

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Teacher-forced logits, B L V, of images, B 1 H W, uint8, and tokens, B L."""
        return self.decode(self.encode(images), tokens)

    def encode(self, images: Tensor) -> Tensor:
        """Memory, B P D, of images, B 1 H W, uint8."""
        patches = F.unfold(images.float() / 255, self.patch_size, stride=self.patch_size).mT
        return self.encoder(self.patch_proj(patches) + self.pos_embed)

    def decode(self, memory: Tensor, tokens: Tensor) -> Tensor:
        """Logits, B L V, of memory, B P D, and tokens, B L."""
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        x = self.token_embed(tokens) + self.token_pos_embed[:length]
        return self.head(self.decoder(x, memory, tgt_mask=mask, tgt_is_causal=True))

    def read(self, images: Tensor) -> Tensor:
        """Decode greedily: tokens, B L, from BOS on. Without a cache, each step decodes the whole prefix again."""
        memory = self.encode(images)
        tokens = torch.full((len(images), 1), BOS, device=images.device)
        for _ in range(self.max_length):
            tokens = torch.cat([tokens, self.decode(memory, tokens)[:, -1:].argmax(-1)], 1)
        return tokens


def torch_nn(config: EncoderDecoderConfig, spec: Spec) -> BaselineModel:
    """torch.nn's layers; no key-value cache."""
    model = TorchEncoderDecoder(config, spec)
    return BaselineModel(model, model, model.read)


def x_transformers(config: EncoderDecoderConfig, spec: Spec) -> BaselineModel:
    """x-transformers with flash attention (torch's) and its key-value cache."""
    from x_transformers import Decoder, Encoder, TransformerWrapper, ViTransformerWrapper
    from x_transformers.autoregressive_wrapper import AutoregressiveWrapper

    layers = {"dim": config.dim, "heads": config.num_heads, "attn_dim_head": config.qk_dim, "attn_flash": True}
    encoder = ViTransformerWrapper(
        image_size=spec.height,
        patch_size=config.patch_size,
        channels=1,
        attn_layers=Encoder(depth=config.encoder_depth, verbose=False, **layers),
    )
    decoder = TransformerWrapper(
        num_tokens=len(VOCABULARY),
        max_seq_len=spec.max_length + 1,
        attn_layers=Decoder(depth=config.decoder_depth, cross_attend=True, verbose=False, **layers),
    )
    generator = AutoregressiveWrapper(decoder, pad_value=PAD)
    for part in (*encoder.modules(), *decoder.modules()):
        if hasattr(part, "sdp_context_manager"):
            part.sdp_context_manager = contextlib.nullcontext  # let torch choose the kernel, as for all others

    def encode(images: Tensor) -> Tensor:
        return encoder(images.float() / 255, return_embeddings=True)

    def read(images: Tensor) -> Any:
        start = torch.full((len(images), 1), BOS, device=images.device)
        return generator.generate(start, spec.max_length + 1, context=encode(images), temperature=0.0, cache_kv=True)

    return BaselineModel(
        nn.ModuleDict({"encoder": encoder, "decoder": generator}),
        lambda images, tokens: decoder(tokens, context=encode(images)),
        read,
    )


def hugging_face(config: EncoderDecoderConfig, spec: Spec) -> BaselineModel:
    """Hugging Face's VisionEncoderDecoder of a ViT and a GPT-2 with cross-attention; `generate` uses its cache."""
    from transformers import GPT2Config, GPT2LMHeadModel, VisionEncoderDecoderModel, ViTConfig, ViTModel

    encoder = ViTModel(
        ViTConfig(
            hidden_size=config.dim,
            num_hidden_layers=config.encoder_depth,
            num_attention_heads=config.num_heads,
            intermediate_size=4 * config.dim,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            image_size=spec.height,
            patch_size=config.patch_size,
            num_channels=1,
        ),
        add_pooling_layer=False,
    )
    decoder = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(VOCABULARY),
            n_positions=spec.max_length + 2,
            n_embd=config.dim,
            n_layer=config.decoder_depth,
            n_head=config.num_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            add_cross_attention=True,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
    )
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)

    def read(images: Tensor) -> Any:
        return model.generate(
            images.float() / 255,
            decoder_start_token_id=BOS,
            max_new_tokens=spec.max_length + 1,
            min_new_tokens=spec.max_length + 1,
            do_sample=False,
            use_cache=True,
        )

    return BaselineModel(
        model,
        lambda images, tokens: (
            model(pixel_values=images.float() / 255, decoder_input_ids=tokens, use_cache=False).logits
        ),
        read,
    )


BASELINE_MODELS: dict[str, tuple[str, Callable[[EncoderDecoderConfig, Spec], BaselineModel]]] = {
    "torch.nn": ("torch", torch_nn),
    "x-transformers": ("x_transformers", x_transformers),
    "Hugging Face": ("transformers", hugging_face),
}
"""Name -> (the package that it needs, builder)."""


def missing_baselines() -> list[str]:
    """Names of the baselines whose packages are not installed."""
    return [name for name, (package, _) in BASELINE_MODELS.items() if find_spec(package) is None]


def build_baselines(model: Any, device: str) -> dict[str, BaselineModel]:
    """Build the installed baselines in the size of our encoder-decoder, and move them to the device."""
    missing = missing_baselines()
    baselines = {
        name: build(model.config, model.spec) for name, (_, build) in BASELINE_MODELS.items() if name not in missing
    }
    for baseline in baselines.values():
        baseline.model.to(device)
    return baselines
