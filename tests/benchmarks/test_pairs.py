"""Intervals and ratios are what closed forms say; variants take turns."""

import itertools
import math
import random

import pytest
from scipy.stats import binom

from benchmarks.pairs import exponent, interleaved, median_interval, paired_ratio, spread


@pytest.mark.parametrize("n", [6, 9, 12, 15, 20, 51, 200])
def test_the_interval_is_the_tightest_between_order_statistics_that_keeps_95_percent(n):
    values = list(range(1, n + 1))
    random.Random(n).shuffle(values)
    low, high, confidence = median_interval(values)
    k = int(low)  # the k-th smallest
    assert high == n + 1 - k
    assert confidence == pytest.approx(1 - 2 * binom.cdf(k - 1, n, 0.5))
    assert confidence >= 0.95 > 1 - 2 * binom.cdf(k, n, 0.5)


def test_of_six_values_the_interval_is_their_range():
    assert median_interval([3, 1, 4, 1.5, 9, 2.6]) == (1, 9, 1 - 2 / 2**6)


@pytest.mark.parametrize("n", range(1, 6))
def test_fewer_than_six_values_tell_nothing(n):
    assert median_interval([1.0] * n) is None


def test_the_interval_holds_the_median_as_often_as_it_says():
    draw = random.Random(5)  # of a skewed distribution, whose median is log 2
    found = [median_interval([draw.expovariate(1) for _ in range(12)]) for _ in range(4000)]
    share = sum(low <= math.log(2) <= high for low, high, _ in found) / len(found)
    assert share == pytest.approx(found[0].confidence, abs=4 * math.sqrt(0.05 * 0.95 / 4000))


def test_the_ratio_is_of_pairs_and_not_of_medians():
    base = [1.0, 10.0, 100.0, 1000.0, 1.0, 10.0, 100.0]  # a machine that drifts
    ratio = paired_ratio([2 * one for one in base], base)
    assert ratio.median == 2
    assert ratio.interval[:2] == (2, 2)
    assert paired_ratio([3, 1, 2], [1, 1, 1]).median == 2


def test_quartiles():
    assert spread([5, 1, 2, 4, 3]) == (3, 2, 4)
    assert spread([7.0]) == (7, 7, 7)


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_the_exponent_of_a_power_law(power):
    sizes = [256, 512, 4096]
    assert exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)


def test_no_exponent_of_two_sizes_or_of_nothing():
    assert exponent([256], [3.0]) is None
    assert exponent([256, 512], [3.0, 6.0]) is None
    assert exponent([256, 512, 1024], [0.0, 1.0, 2.0]) is None


def test_the_device_is_waited_for_before_and_after_each_call():
    pending, now, calls = [], itertools.count(), {}

    def wait():
        for _ in pending:
            next(now)  # what was asked for takes the device one tick each
        pending.clear()

    for name, amount in {"short": 1, "long": 5}.items():
        calls[name] = lambda amount=amount: pending.extend([None] * amount)
    seconds = interleaved(calls, rounds=4, warm_up=1, clock=lambda: float(next(now)), wait=wait)
    assert seconds == {"short": [2.0] * 4, "long": [6.0] * 4}  # one more for the look at the clock


def test_every_variant_has_one_turn_a_round_and_the_first_rounds_are_dropped():
    now, called = itertools.accumulate(itertools.count()), []
    calls = {name: lambda name=name: called.append(name) for name in "abc"}
    seconds = interleaved(calls, rounds=5, warm_up=2, clock=lambda: float(next(now)))
    rounds = [called[i : i + 3] for i in range(0, len(called), 3)]
    assert len(rounds) == 7
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1  # not always in the same order
    # The clock of this test runs faster at every look: the n-th takes n.
    for name in "abc":
        turns = [place for place, turn in enumerate(called) if turn == name][2:]
        assert seconds[name] == [2 * place + 1 for place in turns]
