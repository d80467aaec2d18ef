"""Position embeddings against their formulas, and what must hold for all of them."""

from __future__ import annotations

import math

import pytest
import torch

from mnist_seq import nn
from mnist_seq.config import ClassifierConfig, Spec
from mnist_seq.nn.positions import POS_EMBEDS, RotaryEmbedding, SinusoidalEmbedding

DIM, HEAD_DIM = 16, 8


def test_sinusoids_follow_their_formula() -> None:
    """Vaswani et al. 2017, 3.5: sin and cos of position / 10000^(2i/d), here with all sines first."""
    added = SinusoidalEmbedding((9,), DIM, HEAD_DIM)(torch.zeros(1, 9, DIM))[0]
    for position in range(9):
        for i in range(DIM // 2):
            angle = position / 10_000 ** (2 * i / DIM)
            assert added[position, i] == pytest.approx(math.sin(angle), abs=1e-5)
            assert added[position, DIM // 2 + i] == pytest.approx(math.cos(angle), abs=1e-5)


def test_sinusoids_of_an_image_encode_rows_and_columns_apart() -> None:
    added = SinusoidalEmbedding((3, 5), DIM, HEAD_DIM)(torch.zeros(1, 15, DIM)).view(
        3, 5, 2, 2, DIM // 4
    )  # sin or cos, axis
    assert (added[:, :, :, 0] == added[:, :1, :, 0]).all(), "the half of the rows is the same in every column"
    assert (added[:, :, :, 1] == added[:1, :, :, 1]).all()
    assert len(added.flatten(2).flatten(0, 1).unique(dim=0)) == 15


def test_sinusoidal_embedding_scales_tokens_by_the_root_of_the_width() -> None:
    x = torch.randn(2, 4, DIM)
    embedding = SinusoidalEmbedding((4,), DIM, HEAD_DIM)
    torch.testing.assert_close(embedding(x) - embedding(torch.zeros_like(x)), x * DIM**0.5, atol=1e-5, rtol=1e-5)


def test_rotation_is_multiplication_by_a_complex_phase() -> None:
    """Su et al. 2021, 3.2: coordinates i and i + K/2 form a complex number, rotated by position / 10000^(2i/K)."""
    x = torch.randn(2, 3, 9, HEAD_DIM)
    first, second = x.chunk(2, -1)
    angles = torch.arange(9)[:, None] / 10_000 ** (torch.arange(HEAD_DIM // 2) * 2 / HEAD_DIM)
    rotated = torch.complex(first, second) * torch.exp(1j * angles)
    expected = torch.cat([rotated.real, rotated.imag], -1)
    torch.testing.assert_close(RotaryEmbedding((9,), DIM, HEAD_DIM).rope()(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [RotaryEmbedding, SinusoidalEmbedding])
def test_each_image_axis_has_the_frequencies_of_text_of_half_the_width(
    kind: type[RotaryEmbedding] | type[SinusoidalEmbedding],
) -> None:
    image = _sines(kind((4, 5), DIM, HEAD_DIM))
    line = _sines(kind((5,), DIM // 2, HEAD_DIM // 2))
    rows, cols = image.view(4, 5, -1).chunk(2, -1)
    torch.testing.assert_close(rows, line[:4, None].expand(-1, 5, -1))
    torch.testing.assert_close(cols, line[None].expand(4, -1, -1))


def _sines(embedding: RotaryEmbedding | SinusoidalEmbedding) -> torch.Tensor:
    return embedding.sin if isinstance(embedding, RotaryEmbedding) else embedding.table.chunk(2, -1)[0]


@pytest.mark.parametrize("shape", [(9,), (4, 5)])
def test_products_of_rotated_vectors_depend_on_their_offset_alone(shape: tuple[int, ...]) -> None:
    positions = torch.cartesian_prod(*map(torch.arange, shape)).view(-1, len(shape))
    rope = RotaryEmbedding(shape, DIM, HEAD_DIM).rope()
    query, key = torch.randn(2, HEAD_DIM)
    products = rope(query.expand(len(positions), -1)) @ rope(key.expand(len(positions), -1)).T
    by_offset: dict[tuple[int, ...], list[float]] = {}
    for i, query_position in enumerate(positions):
        for j, key_position in enumerate(positions):
            by_offset.setdefault(tuple((query_position - key_position).tolist()), []).append(float(products[i, j]))
    for values in by_offset.values():
        assert values == pytest.approx([values[0]] * len(values), abs=1e-4)
    assert len({round(values[0], 3) for values in by_offset.values()}) > len(positions)


def test_class_tokens_are_not_rotated() -> None:
    rope = RotaryEmbedding((2, 2), DIM, HEAD_DIM).rope()
    x = torch.randn(7, HEAD_DIM)
    rotated = rope.with_prefix(3)(x)
    assert torch.equal(rotated[:3], x[:3])
    assert torch.equal(rotated[3:], rope(x[3:]))


def test_factorised_positions_are_a_row_plus_a_column() -> None:
    embedding = POS_EMBEDS["factorised"]((3, 4), DIM, HEAD_DIM)
    rows, cols = embedding.tables  # type: ignore[misc]
    added = embedding(torch.zeros(1, 12, DIM))[0].view(3, 4, DIM)
    torch.testing.assert_close(added, rows[:, None] + cols[None])


@pytest.mark.parametrize("name", [name for name in POS_EMBEDS if name != "rotary"])
def test_tokens_after_an_offset_get_their_own_position(name: str) -> None:
    embedding, x = POS_EMBEDS[name]((6,), DIM, HEAD_DIM), torch.randn(2, 6, DIM)
    torch.testing.assert_close(embedding(x[:, 4:], offset=4), embedding(x)[:, 4:])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("name", POS_EMBEDS)
def test_patches_are_a_set_only_without_positions(name: str, pooling: str) -> None:
    """Shuffled patches leave the mean of the encoder's output and a class token as they were."""
    torch.manual_seed(0)
    config = ClassifierConfig(dim=16, num_heads=2, encoder_depth=2, pooling=pooling, pos_embed=name)
    model = nn.build(config, Spec(56, 56, 4, (2, 2))).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    images = torch.rand(3, 1, 56, 56)
    patches = images.unfold(2, 14, 14).unfold(3, 14, 14).reshape(3, 16, 14, 14)[:, torch.randperm(16)]
    shuffled = patches.view(3, 4, 4, 14, 14).transpose(2, 3).reshape(3, 1, 56, 56)
    is_set = torch.allclose(model(images), model(shuffled), atol=1e-4, rtol=1e-4)
    assert is_set == (name == "none")
