"""Positions against their formulas, and what they must mean."""

from __future__ import annotations

import math

import pytest
import torch

from mnist_seq import nn
from mnist_seq.config import ClassifierConfig, Spec
from mnist_seq.nn.positions import POS_EMBEDS, RotaryEmbedding, SinusoidalEmbedding

DIM, KEYS = 16, 8


def test_sinusoids_are_the_papers() -> None:
    """Vaswani et al. 2017, 3.5: sin and cos of position / 10000^(2i/d), here with all sines first."""
    added = SinusoidalEmbedding((9,), DIM, KEYS)(torch.zeros(1, 9, DIM))[0]
    for position in range(9):
        for i in range(DIM // 2):
            angle = position / 10_000 ** (2 * i / DIM)
            assert added[position, i] == pytest.approx(math.sin(angle), abs=1e-5)
            assert added[position, DIM // 2 + i] == pytest.approx(math.cos(angle), abs=1e-5)


def test_sinusoids_of_an_image_give_each_axis_a_share() -> None:
    added = SinusoidalEmbedding((3, 5), DIM, KEYS)(torch.zeros(1, 15, DIM)).view(
        3, 5, 2, 2, DIM // 4
    )  # sin or cos, axis
    assert (added[:, :, :, 0] == added[:, :1, :, 0]).all(), "the row's does not know the column"
    assert (added[:, :, :, 1] == added[:1, :, :, 1]).all()
    assert len(added.flatten(2).flatten(0, 1).unique(dim=0)) == 15


def test_tokens_weigh_as_much_as_sinusoids() -> None:
    x = torch.randn(2, 4, DIM)
    position = SinusoidalEmbedding((4,), DIM, KEYS)
    torch.testing.assert_close(position(x) - position(torch.zeros_like(x)), x * DIM**0.5, atol=1e-5, rtol=1e-5)


def test_rotation_is_multiplication_by_a_complex_number() -> None:
    """Su et al. 2021, 3.2: coordinates i and i + K/2 are a number, turned by position / 10000^(2i/K)."""
    x = torch.randn(2, 3, 9, KEYS)
    first, second = x.chunk(2, -1)
    angles = torch.arange(9)[:, None] / 10_000 ** (torch.arange(KEYS // 2) * 2 / KEYS)
    turned = torch.complex(first, second) * torch.exp(1j * angles)
    expected = torch.cat([turned.real, turned.imag], -1)
    torch.testing.assert_close(RotaryEmbedding((9,), DIM, KEYS).rope()(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [RotaryEmbedding, SinusoidalEmbedding])
def test_in_an_image_each_axis_has_the_waves_of_a_line_half_as_wide(
    kind: type[RotaryEmbedding] | type[SinusoidalEmbedding],
) -> None:
    """By angle: a sinusoid's and a rotation's are the same."""
    image, line = (_sines(kind(shape, DIM // share, KEYS // share)) for shape, share in (((4, 5), 1), ((5,), 2)))
    rows, cols = image.view(4, 5, -1).chunk(2, -1)
    torch.testing.assert_close(rows, line[:4, None].expand(-1, 5, -1))
    torch.testing.assert_close(cols, line[None].expand(4, -1, -1))


def _sines(position: RotaryEmbedding | SinusoidalEmbedding) -> torch.Tensor:
    return position.sin if isinstance(position, RotaryEmbedding) else position.table.chunk(2, -1)[0]


@pytest.mark.parametrize("shape", [(9,), (4, 5)])
def test_turned_vectors_meet_by_their_distance_alone(shape: tuple[int, ...]) -> None:
    places = torch.cartesian_prod(*map(torch.arange, shape)).view(-1, len(shape))
    turn = RotaryEmbedding(shape, DIM, KEYS).rope()
    query, key = torch.randn(2, KEYS)
    products = turn(query.expand(len(places), -1)) @ turn(key.expand(len(places), -1)).T
    met: dict[tuple[int, ...], list[float]] = {}
    for one, mine in enumerate(places):
        for other, theirs in enumerate(places):
            met.setdefault(tuple((mine - theirs).tolist()), []).append(float(products[one, other]))
    for values in met.values():
        assert values == pytest.approx([values[0]] * len(values), abs=1e-4)
    assert len({round(values[0], 3) for values in met.values()}) > len(places)


def test_class_tokens_are_not_turned() -> None:
    turn = RotaryEmbedding((2, 2), DIM, KEYS).rope()
    x = torch.randn(7, KEYS)
    turned = turn.with_prefix(3)(x)
    assert torch.equal(turned[:3], x[:3])
    assert torch.equal(turned[3:], turn(x[3:]))


def test_factorised_positions_are_a_row_plus_a_column() -> None:
    position = POS_EMBEDS["factorised"]((3, 4), DIM, KEYS)
    rows, cols = position.tables  # type: ignore[misc]
    added = position(torch.zeros(1, 12, DIM))[0].view(3, 4, DIM)
    torch.testing.assert_close(added, rows[:, None] + cols[None])


@pytest.mark.parametrize("name", [name for name in POS_EMBEDS if name != "rotary"])
def test_tokens_that_come_later_get_their_own_position(name: str) -> None:
    position, x = POS_EMBEDS[name]((6,), DIM, KEYS), torch.randn(2, 6, DIM)
    torch.testing.assert_close(position(x[:, 4:], offset=4), position(x)[:, 4:])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("name", POS_EMBEDS)
def test_only_without_positions_are_patches_a_set(name: str, pooling: str) -> None:
    """Patches that change places change nothing in the mean of what the encoder makes of them, or in a class token."""
    torch.manual_seed(0)
    config = ClassifierConfig(dim=16, num_heads=2, encoder_depth=2, pooling=pooling, pos_embed=name)
    model = nn.build(config, Spec(56, 56, 4, (2, 2))).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    images = torch.rand(3, 1, 56, 56)
    patches = images.unfold(2, 14, 14).unfold(3, 14, 14).reshape(3, 16, 14, 14)[:, torch.randperm(16)]
    moved = patches.view(3, 4, 4, 14, 14).transpose(2, 3).reshape(3, 1, 56, 56)
    same = torch.allclose(model(images), model(moved), atol=1e-4, rtol=1e-4)
    assert same == (name == "none")
