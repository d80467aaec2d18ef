"""Confidence intervals and tests have their nominal coverage when scenes share source digits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from mnist_seq.evaluation.intervals import SharedSources, paired_difference, proportion_with_interval, wilson_interval


def test_interval_is_wilsons_when_no_digit_is_shared() -> None:
    right = (torch.arange(400) % 10 > 0).float()
    mine = proportion_with_interval(right, torch.ones(400), SharedSources(torch.arange(400)[:, None]))[1:3]
    assert mine == pytest.approx(wilson_interval(0.9, 400), rel=1e-6)
    assert mine == pytest.approx((0.8667, 0.9257), abs=2e-3)  # Wilson's for 360 of 400


def test_interval_follows_the_cluster_robust_variance() -> None:
    """Its variance is the sum of products of errors over all pairs, for each shared digit, divided by n squared."""
    generator = torch.Generator().manual_seed(0)
    right = (torch.rand(60, generator=generator) > 0.3).float()
    sources = torch.randint(0, 40, (60, 3), generator=generator)
    sources[::5, 2] = -1
    shown = [set(row.tolist()) - {-1} for row in sources]
    errors = right - right.mean()
    shared = {(i, j): 1 if i == j else len(shown[i] & shown[j]) for i in range(60) for j in range(60)}
    density = (sum(shared.values()) - 60) / 60**2
    variance = float(sum(errors[i] * errors[j] * times for (i, j), times in shared.items())) / 60**2 / (1 - density)
    value = float(right.mean())
    expected = wilson_interval(value, value * (1 - value) / variance)
    assert proportion_with_interval(right, torch.ones(60), SharedSources(sources))[1:3] == pytest.approx(
        expected, rel=1e-5
    )


def test_memory_grows_with_scenes_and_not_with_pairs() -> None:
    """100,000 scenes that all show one digit make 10 billion pairs."""
    sources = torch.stack([torch.zeros(100_000, dtype=torch.long), torch.arange(100_000)], 1)
    right = (torch.arange(100_000) % 10 > 0).float()
    value, low, high, _ = proportion_with_interval(right, torch.ones(100_000), SharedSources(sources))
    assert low < value < high


class DigitErrorSimulation:
    """Simulated models whose errors depend on source digits: some are always misread, others at random."""

    def __init__(self, seed: int, scenes: int = 400, pool: int = 300, slots: int = 3) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.sources = torch.randint(0, pool, (scenes, slots), generator=self.generator)
        self.pool = pool
        self.shared_sources = SharedSources(self.sources)

    def correct(self, hard_fraction: float, noise: float = 0.02) -> Tensor:
        """Draw a new model, and return whether it predicts each scene correctly; B."""
        hard = torch.rand(self.pool, generator=self.generator) < hard_fraction
        slips = torch.rand(self.sources.shape, generator=self.generator) < noise
        return (~(hard[self.sources] | slips).any(1)).float()


def test_intervals_cover_when_errors_depend_on_digits_and_naive_ones_do_not() -> None:
    covered, naive, times = 0, 0, 1000
    truth = ((1 - 0.06) * (1 - 0.02)) ** 3
    for seed in range(times):
        simulation = DigitErrorSimulation(seed)
        right = simulation.correct(0.06)
        _, low, high, _ = proportion_with_interval(right, torch.ones(len(right)), simulation.shared_sources)
        covered += low <= truth <= high
        low, high = wilson_interval(float(right.mean()), len(right))
        naive += low <= truth <= high
    assert 0.93 <= covered / times <= 0.98
    assert naive / times < 0.90


def test_intervals_of_digit_accuracy_cover() -> None:
    """The accuracy on one digit class, of which a scene may show several."""
    covered, times = 0, 600
    for seed in range(times):
        simulation = DigitErrorSimulation(seed)
        hard = torch.rand(simulation.pool, generator=simulation.generator) < 0.1
        of_class = torch.arange(simulation.pool) % 3 == 0
        these = of_class[simulation.sources]
        wrong = hard[simulation.sources] & these
        _, low, high, _ = proportion_with_interval(
            (these & ~wrong).sum(1).float(), these.sum(1).float(), simulation.shared_sources
        )
        covered += low <= 0.9 <= high
    assert 0.92 <= covered / times <= 0.98


def test_false_positive_rate_is_five_percent_and_that_of_the_naive_test_is_higher() -> None:
    false_positives, excluded_zero, naive, times = 0, 0, 0, 1000
    for seed in range(times):
        simulation = DigitErrorSimulation(seed)
        one, other = simulation.correct(0.06), simulation.correct(0.06)
        found = paired_difference(one, other, simulation.shared_sources)
        false_positives += found.p_value < 0.05
        excluded_zero += found.significant
        gained, lost = int((other > one).sum()), int((one > other).sum())
        naive += stats.binomtest(gained, gained + lost).pvalue < 0.05
    assert 0.03 <= false_positives / times <= 0.07
    assert 0.03 <= excluded_zero / times <= 0.07
    assert naive / times > 0.08


def test_intervals_of_paired_differences_cover() -> None:
    covered, times = 0, 1000
    truth = ((1 - 0.03) * 0.98) ** 3 - ((1 - 0.08) * 0.98) ** 3
    for seed in range(times):
        simulation = DigitErrorSimulation(seed)
        found = paired_difference(simulation.correct(0.08), simulation.correct(0.03), simulation.shared_sources)
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / times <= 0.98


def test_difference_of_scenes_that_share_no_digit_is_walds() -> None:
    one, other = torch.zeros(200), torch.zeros(200)
    one[:30], other[20:70] = 1, 1
    found = paired_difference(one, other, SharedSources(torch.arange(200)[:, None]))
    assert found.value == pytest.approx((40 - 20) / 200)
    n, b, c = 202, 40.5, 20.5  # Agresti & Min 2005
    error = math.sqrt((b + c) - (b - c) ** 2 / n) / n
    assert found.p_value == pytest.approx(2 * stats.norm.sf((b - c) / n / error))
    reach = 1.959964 * error
    assert (found.low, found.high) == pytest.approx(((b - c) / n - reach, (b - c) / n + reach))


@given(gained=st.integers(0, 60), lost=st.integers(0, 60), both=st.integers(0, 100))
def test_p_value_is_below_5_percent_exactly_where_the_interval_excludes_0(gained: int, lost: int, both: int) -> None:
    other = torch.tensor([1] * gained + [0] * lost + [1] * both + [0])
    one = torch.tensor([0] * gained + [1] * lost + [1] * both + [0])
    found = paired_difference(one, other, SharedSources(torch.arange(len(one))[:, None]))
    assert found.significant == (found.p_value < 0.05) or found.p_value == pytest.approx(0.05, abs=1e-6)


def test_scenes_of_a_single_writer_say_little() -> None:
    """However many there are: the next writer may do better or worse."""
    correct, total = torch.tensor([1.0, 0.0] * 20), torch.ones(40)
    _, low, high, _ = proportion_with_interval(correct, total, SharedSources(torch.zeros(40, 1).long()))
    assert low < 0.06
    assert high > 0.94


def test_paired_difference_is_antisymmetric_and_zero_for_the_same_model() -> None:
    simulation = DigitErrorSimulation(0)
    one, other = simulation.correct(0.1), simulation.correct(0.02)
    found, back = (
        paired_difference(one, other, simulation.shared_sources),
        paired_difference(other, one, simulation.shared_sources),
    )
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert back.p_value == found.p_value
    none = paired_difference(one, one, simulation.shared_sources)
    assert none.value == 0
    assert none.low < 0 < none.high
    assert none.p_value == 1
    assert not none.significant


def test_interval_without_any_error_still_has_width() -> None:
    _, low, high, _ = proportion_with_interval(
        torch.ones(100), torch.ones(100), SharedSources(torch.arange(100)[:, None])
    )
    assert 0.95 < low < 0.97
    assert high == pytest.approx(1)


@pytest.mark.parametrize("scenes", [1, 2, 30])
def test_interval_without_variation_depends_only_on_distinct_digits(scenes: int) -> None:
    """All scenes have the same score, or only one model is correct: the effective size is that of the digits."""
    digits = torch.arange(3 * scenes).view(-1, 3)
    distinct, same = SharedSources(digits), SharedSources(digits % 3)
    for right in (0, 1, 2, 3):
        counts = torch.full((scenes,), right), torch.full((scenes,), 3)
        assert proportion_with_interval(*counts, distinct)[:3] == pytest.approx(
            (right / 3, *wilson_interval(right / 3, 3 * scenes))
        )
        assert proportion_with_interval(*counts, same)[:3] == pytest.approx((right / 3, *wilson_interval(right / 3, 3)))
    every, once = (
        paired_difference(torch.zeros(scenes), torch.ones(scenes), shared_sources)
        for shared_sources in (distinct, same)
    )
    assert once == pytest.approx(paired_difference(torch.zeros(1), torch.ones(1), SharedSources(torch.arange(3)[None])))
    centre, total = scenes / (scenes + 2), scenes + 2
    error = math.sqrt(((scenes + 1) / total - centre**2) / total)
    assert every.p_value == pytest.approx(math.erfc(centre / error / math.sqrt(2)))


@pytest.mark.parametrize(("slots", "scenes"), [(9, 1000), (16, 500)])
def test_intervals_hold_when_nearly_all_scenes_share_digits(slots: int, scenes: int) -> None:
    """Large grids from few source digits: half of all pairs of scenes share one."""
    excluded_zero, significant, covered, times = 0, 0, 0, 150
    truth = (0.98 * 0.998) ** slots
    for seed in range(times):
        simulation = DigitErrorSimulation(seed, scenes, slots=slots)
        one, other = simulation.correct(0.02, 0.002), simulation.correct(0.02, 0.002)
        found = paired_difference(one, other, simulation.shared_sources)
        excluded_zero += found.significant
        significant += found.p_value < 0.05
        _, low, high, _ = proportion_with_interval(one, torch.ones(scenes), simulation.shared_sources)
        covered += low <= truth <= high
    assert excluded_zero / times <= 0.10
    assert significant / times <= 0.10
    assert covered / times >= 0.88


def test_scenes_of_the_same_single_digit_count_as_one() -> None:
    shared_sources = SharedSources(torch.zeros(7, 1))
    one, other = torch.zeros(7), (torch.arange(7) < 3).float()
    found = paired_difference(one, other, shared_sources)
    assert found.high - found.low > 0.3
    assert not found.significant
    _, low, high, _ = proportion_with_interval(other, torch.ones(7), shared_sources)
    assert high - low > 0.4
    _, low, _, _ = proportion_with_interval(torch.ones(7), torch.ones(7), shared_sources)
    assert low == pytest.approx(wilson_interval(1, 1)[0])


def test_repeated_digits_count_once_when_nothing_is_wrong() -> None:
    """60 scenes of 4 digits from a pool of 30."""
    sources = torch.arange(240).view(60, 4) % 30
    shared_sources, ones = SharedSources(sources), torch.ones(60)
    assert proportion_with_interval(4 * ones, 4 * ones, shared_sources)[1] == pytest.approx(wilson_interval(1, 30)[0])
    assert proportion_with_interval(ones, ones, shared_sources)[1] == pytest.approx(wilson_interval(1, 30 / 4)[0])
    assert proportion_with_interval(ones, ones, SharedSources(torch.full((60, 4), -1)))[1] == pytest.approx(
        wilson_interval(1, 60)[0]
    )


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_verdict_and_p_value_agree_on_few_scenes(lost: int) -> None:
    """4 scenes gained and none lost: McNemar's test without correction finds p = 0.046."""
    for gained in range(20):
        one, other = torch.zeros(10_000), torch.zeros(10_000)
        one[:lost], other[lost : lost + gained] = 1, 1
        found = paired_difference(one, other, SharedSources(torch.arange(10_000)[:, None]))
        assert found.significant == (found.p_value < 0.05)


def test_interval_excludes_zero_where_the_test_is_significant() -> None:
    agree = 0
    for seed in range(300):
        simulation = DigitErrorSimulation(seed)
        found = paired_difference(simulation.correct(0.08), simulation.correct(0.04), simulation.shared_sources)
        agree += found.significant == (found.p_value < 0.05)
    assert agree >= 290
