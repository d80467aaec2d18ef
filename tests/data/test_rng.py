"""Random numbers are SplitMix64, uniform, and functions of (key, id, slot)."""

from itertools import combinations

import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnist_seq.data import rng

MASK = 2**64 - 1


def splitmix64(state: int) -> tuple[int, int]:
    """Steele, Lea & Flood's next(), as published, in Python's integers."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return state, z ^ (z >> 31)


def test_reference_implementation_gives_the_published_outputs() -> None:
    """The first outputs for seed 1234567, as given with the public-domain C code."""
    state, numbers = 1234567, []
    for _ in range(5):
        state, value = splitmix64(state)
        numbers.append(value)
    assert numbers == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(st.integers(0, MASK), st.lists(st.integers(0, 2**62), min_size=1, max_size=4))
def test_bits_are_splitmix64_seeded_by_the_id(stream: int, ids: list[int]) -> None:
    ours = rng.bits(stream, torch.tensor(ids), 3).tolist()
    for id_, row in zip(ids, ours, strict=True):
        start = (id_ * 0x9E3779B97F4A7C15 + stream) & MASK
        _, state = splitmix64((start - 0x9E3779B97F4A7C15) & MASK)
        for value in row:
            state, expected = splitmix64(state)
            assert value == expected >> 32


def test_number_depends_only_on_key_id_and_slot() -> None:
    stream, ids = rng.key(3, "train", "digit"), torch.arange(100)
    batch = rng.bits(stream, ids, 8)
    assert torch.equal(batch[[7, 3]], rng.bits(stream, torch.tensor([7, 3]), 8))
    assert torch.equal(batch[:, :2], rng.bits(stream, ids, 2))


def test_streams_differ_between_seeds_splits_and_purposes() -> None:
    keys = [
        rng.key(seed, split, purpose)
        for seed in range(20)
        for split in ("train", "val")
        for purpose in ("digit", "empty")
    ]
    assert len(set(keys)) == len(keys)
    ids = torch.arange(1000)
    first, second = (rng.uniform(rng.key(seed, "train", "digit"), ids, 1)[:, 0] for seed in (0, 1))
    assert abs(stats.pearsonr(first, second).statistic) < 0.1


def test_integers_are_uniform_and_uncorrelated() -> None:
    numbers = rng.integers(rng.key(0, "test"), torch.arange(100_000), 2, high=7)
    assert stats.chisquare(torch.bincount(numbers.flatten(), minlength=7)).pvalue > 0.001
    pairs = torch.bincount(numbers[:, 0] * 7 + numbers[:, 1], minlength=49)
    assert stats.chisquare(pairs).pvalue > 0.001
    following = torch.bincount(numbers[:-1, 0] * 7 + numbers[1:, 0], minlength=49)
    assert stats.chisquare(following).pvalue > 0.001


def test_uniform_numbers_cover_the_unit_interval() -> None:
    numbers = rng.uniform(rng.key(0, "test"), torch.arange(50_000), 1)[:, 0]
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers.numpy(), "uniform").pvalue > 0.001


def test_bytes_are_uniform_and_independent() -> None:
    numbers = rng.DigitRng(0, "train", torch.arange(30_000)).bytes("noise", 8)
    assert stats.chisquare(torch.bincount(numbers.flatten(), minlength=256)).pvalue > 0.001
    for first, second in combinations(range(8), 2):
        pairs = torch.bincount((numbers[:, first] >> 4) * 16 + (numbers[:, second] >> 4), minlength=256)
        assert stats.chisquare(pairs).pvalue > 0.0001


def digits_of_scenes(num_scenes: int, slots: int, *stream: str) -> rng.DigitRng:
    ids, slot = torch.arange(num_scenes).repeat_interleave(slots), torch.arange(slots).repeat(num_scenes)
    return rng.DigitRng(3, "train", ids, slot, stream)


def test_numbers_of_a_digit_do_not_depend_on_which_others_are_drawn() -> None:
    every, some = digits_of_scenes(50, 4), torch.tensor([7, 2, 199])
    assert every.slots is not None
    few = rng.DigitRng(3, "train", every.ids[some], every.slots[some])
    for draw in ("uniform", "bytes"):
        assert torch.equal(getattr(few, draw)("noise", 9), getattr(every, draw)("noise", 9)[some])
    assert torch.equal(few.integers("place", 3, 10), every.integers("place", 3, 10)[some])
    assert torch.equal(few.uniform("noise", 9, shared=0.5), every.uniform("noise", 9, shared=0.5)[some])
    assert every.uniform("noise", 9).unique().numel() > 0.99 * 200 * 9


def test_digits_of_a_scene_draw_one_after_another_from_its_stream() -> None:
    ids = torch.arange(50)
    expected = rng.integers(rng.key(3, "train", "place"), ids, 4 * 3, 10)
    assert torch.equal(digits_of_scenes(50, 4).integers("place", 3, 10).view(50, 12), expected)
    alone, first = rng.DigitRng(3, "train", ids), rng.DigitRng(3, "train", ids, torch.zeros_like(ids))
    assert torch.equal(alone.bytes("noise", 9), first.bytes("noise", 9))


def test_shared_numbers_are_equal_for_all_digits_of_a_scene_whatever_their_stream() -> None:
    digits, marks = digits_of_scenes(50, 4), digits_of_scenes(50, 2, "marks")
    common = digits.uniform("distort", 5, shared=1.0).view(50, 4, 5)
    assert torch.equal(common, common[:, :1].expand(-1, 4, -1))
    assert torch.equal(marks.uniform("distort", 5, shared=1.0).view(50, 2, 5)[:, 0], common[:, 0])
    own, mixed = digits.uniform("distort", 5), digits.uniform("distort", 5, shared=0.3)
    torch.testing.assert_close(mixed, 0.7 * own + 0.3 * common.flatten(0, 1))
    assert 0 <= mixed.min() <= mixed.max() < 1
