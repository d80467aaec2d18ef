"""Intervals and tests hold what they promise, where scenes share digits."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from mnist_seq.evaluation.intervals import SharedSources, paired_difference, proportion_with_interval, wilson_interval


def test_the_interval_is_wilsons_where_no_digit_is_shared() -> None:
    right = (torch.arange(400) % 10 > 0).float()
    mine = proportion_with_interval(right, torch.ones(400), SharedSources(torch.arange(400)[:, None]))[1:3]
    assert mine == pytest.approx(wilson_interval(0.9, 400), rel=1e-6)
    assert mine == pytest.approx((0.8667, 0.9257), abs=2e-3)  # Wilson's for 360 of 400


def test_the_interval_follows_the_protocols_formula() -> None:
    """Variance: the products of errors over all pairs that share a digit, over n squared; here many pairs share one."""
    generator = torch.Generator().manual_seed(0)
    right = (torch.rand(60, generator=generator) > 0.3).float()
    sources = torch.randint(0, 40, (60, 3), generator=generator)
    sources[::5, 2] = -1
    shown = [set(row.tolist()) - {-1} for row in sources]
    errors = right - right.mean()
    pairs = [(i, j) for i in range(60) for j in range(60) if i == j or shown[i] & shown[j]]
    sharing = (len(pairs) - 60) / 60**2
    variance = float(sum(errors[i] * errors[j] for i, j in pairs)) / 60**2 / (1 - sharing)
    value = float(right.mean())
    expected = wilson_interval(value, value * (1 - value) / variance)
    assert proportion_with_interval(right, torch.ones(60), SharedSources(sources))[1:3] == pytest.approx(
        expected, rel=1e-5
    )


class OnDigits:
    """Synthetic readers whose errors sit on digits: some are always misread, and others now and then."""

    def __init__(self, seed: int, scenes: int = 400, pool: int = 300, slots: int = 3) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.sources = torch.randint(0, pool, (scenes, slots), generator=self.generator)
        self.pool = pool
        self.kin = SharedSources(self.sources)

    def right(self, misread: float, noise: float = 0.02) -> Tensor:
        """Whether a reader of its own reads each scene right."""
        hard = torch.rand(self.pool, generator=self.generator) < misread
        slips = torch.rand(self.sources.shape, generator=self.generator) < noise
        return (~(hard[self.sources] | slips).any(1)).float()


def test_intervals_cover_when_errors_sit_on_digits_and_naive_ones_do_not() -> None:
    held, naive, times = 0, 0, 1000
    truth = ((1 - 0.06) * (1 - 0.02)) ** 3
    for seed in range(times):
        world = OnDigits(seed)
        right = world.right(0.06)
        _, low, high, _ = proportion_with_interval(right, torch.ones(len(right)), world.kin)
        held += low <= truth <= high
        low, high = wilson_interval(float(right.mean()), len(right))
        naive += low <= truth <= high
    assert 0.93 <= held / times <= 0.98
    assert naive / times < 0.90


def test_intervals_of_digits_cover_too() -> None:
    """Shares of digits, of which scenes have several: a class that is hard to tell."""
    held, times = 0, 600
    for seed in range(times):
        world = OnDigits(seed)
        hard = torch.rand(world.pool, generator=world.generator) < 0.1
        of_class = torch.arange(world.pool) % 3 == 0
        these = of_class[world.sources]
        wrong = hard[world.sources] & these
        _, low, high, _ = proportion_with_interval((these & ~wrong).sum(1).float(), these.sum(1).float(), world.kin)
        held += low <= 0.9 <= high
    assert 0.92 <= held / times <= 0.98


def test_of_equal_readers_one_in_twenty_pairs_differs_and_the_naive_test_sees_more() -> None:
    false, shown, naive, times = 0, 0, 0, 1000
    for seed in range(times):
        world = OnDigits(seed)
        one, other = world.right(0.06), world.right(0.06)
        found = paired_difference(one, other, world.kin)
        false += found.p_value < 0.05
        shown += found.significant
        gained, lost = int((other > one).sum()), int((one > other).sum())
        naive += stats.binomtest(gained, gained + lost).pvalue < 0.05
    assert 0.03 <= false / times <= 0.07
    assert 0.03 <= shown / times <= 0.07
    assert naive / times > 0.08


def test_intervals_of_differences_cover() -> None:
    held, times = 0, 1000
    truth = ((1 - 0.03) * 0.98) ** 3 - ((1 - 0.08) * 0.98) ** 3
    for seed in range(times):
        world = OnDigits(seed)
        found = paired_difference(world.right(0.08), world.right(0.03), world.kin)
        held += found.low <= truth <= found.high
    assert 0.93 <= held / times <= 0.98


def test_where_no_digit_is_shared_the_test_is_mcnemars() -> None:
    one, other = torch.zeros(200), torch.zeros(200)
    one[:30], other[20:70] = 1, 1
    found = paired_difference(one, other, SharedSources(torch.arange(200)[:, None]))
    assert found.value == pytest.approx((40 - 20) / 200)
    assert found.p_value == pytest.approx(stats.chi2.sf((40 - 20) ** 2 / (40 + 20), 1))
    n, b, c = 202, 40.5, 20.5  # Agresti & Min 2005
    reach = 1.959964 * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    assert (found.low, found.high) == pytest.approx(((b - c) / n - reach, (b - c) / n + reach))


def test_a_difference_turns_round_with_its_readers_and_of_the_same_reader_there_is_none() -> None:
    world = OnDigits(0)
    one, other = world.right(0.1), world.right(0.02)
    found, back = paired_difference(one, other, world.kin), paired_difference(other, one, world.kin)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert back.p_value == found.p_value
    none = paired_difference(one, one, world.kin)
    assert none.value == 0
    assert none.low < 0 < none.high
    assert none.p_value == 1
    assert not none.significant


def test_an_interval_of_nothing_wrong_still_has_width() -> None:
    _, low, high, _ = proportion_with_interval(
        torch.ones(100), torch.ones(100), SharedSources(torch.arange(100)[:, None])
    )
    assert 0.95 < low < 0.97
    assert high == pytest.approx(1)


@pytest.mark.parametrize("scenes", [1, 2, 30])
def test_where_nothing_varies_digits_are_all_that_counts(scenes: int) -> None:
    """Each scene read as far as the others, or by one reader alone: as sure as their digits make it, and no surer."""
    digits = torch.arange(3 * scenes).view(-1, 3)
    apart, same = SharedSources(digits), SharedSources(digits % 3)
    for right in (0, 1, 2, 3):
        counted = torch.full((scenes,), right), torch.full((scenes,), 3)
        assert proportion_with_interval(*counted, apart)[:3] == pytest.approx(
            (right / 3, *wilson_interval(right / 3, 3 * scenes))
        )
        assert proportion_with_interval(*counted, same)[:3] == pytest.approx(
            (right / 3, *wilson_interval(right / 3, 3))
        )
    every, once = (paired_difference(torch.zeros(scenes), torch.ones(scenes), kin) for kin in (apart, same))
    assert once == pytest.approx(paired_difference(torch.zeros(1), torch.ones(1), SharedSources(torch.arange(3)[None])))
    assert every.p_value == pytest.approx(math.erfc(math.sqrt(scenes / 2)))


@pytest.mark.parametrize(("slots", "scenes"), [(9, 1000), (16, 500)])
def test_where_nearly_all_scenes_share_digits_nothing_is_too_sure(slots: int, scenes: int) -> None:
    """Large grids of few digits: half of all pairs of scenes share one."""
    shown, significant, held, times = 0, 0, 0, 150
    truth = (0.98 * 0.998) ** slots
    for seed in range(times):
        world = OnDigits(seed, scenes, slots=slots)
        one, other = world.right(0.02, 0.002), world.right(0.02, 0.002)
        found = paired_difference(one, other, world.kin)
        shown += found.significant
        significant += found.p_value < 0.05
        _, low, high, _ = proportion_with_interval(one, torch.ones(scenes), world.kin)
        held += low <= truth <= high
    assert shown / times <= 0.10
    assert significant / times <= 0.10
    assert held / times >= 0.88


def test_scenes_of_one_and_the_same_digit_are_one_scene() -> None:
    kin = SharedSources(torch.zeros(7, 1))
    one, other = torch.zeros(7), (torch.arange(7) < 3).float()
    found = paired_difference(one, other, kin)
    assert found.high - found.low > 0.3
    assert not found.significant
    _, low, high, _ = proportion_with_interval(other, torch.ones(7), kin)
    assert high - low > 0.4
    _, low, _, _ = proportion_with_interval(torch.ones(7), torch.ones(7), kin)
    assert low == pytest.approx(wilson_interval(1, 1)[0])


def test_where_nothing_is_wrong_repeated_digits_count_once() -> None:
    """60 scenes of 4 digits, which are 30 in all."""
    sources = torch.arange(240).view(60, 4) % 30
    kin, ones = SharedSources(sources), torch.ones(60)
    assert proportion_with_interval(4 * ones, 4 * ones, kin)[1] == pytest.approx(wilson_interval(1, 30)[0])
    assert proportion_with_interval(ones, ones, kin)[1] == pytest.approx(wilson_interval(1, 30 / 4)[0])
    assert proportion_with_interval(ones, ones, SharedSources(torch.full((60, 4), -1)))[1] == pytest.approx(
        wilson_interval(1, 60)[0]
    )


def test_a_difference_that_is_shown_is_one_that_is_tested() -> None:
    agree = 0
    for seed in range(300):
        world = OnDigits(seed)
        found = paired_difference(world.right(0.08), world.right(0.04), world.kin)
        agree += found.significant == (found.p_value < 0.05)
    assert agree >= 290
