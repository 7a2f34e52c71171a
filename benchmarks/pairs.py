"""Times of variants that take turns, and what their ratios are, as far as so many rounds can tell.

A machine's speed drifts, and others work on it. Variants that are timed close together meet the same of it:
their ratio within a round is steadier than either time.
"""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

CONFIDENCE = 0.95


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
    wait: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Return the seconds of each call, a number per round.

    Args:
        calls: what is timed, by name.
        rounds: that are kept. In each, every call has one turn, in an order that is drawn anew, so that none
            always finds the cache as the same other has left it.
        warm_up: rounds before them that are dropped.
        clock: returns seconds.
        wait: returns once the device has done all that it was asked for: before a call, so that none pays for
            another's work, and after it, as a GPU goes on when the host is through.
    """
    order, draw = list(calls), random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(warm_up + rounds):
        draw.shuffle(order)
        with uncollected():
            for name in order:
                wait()
                start = clock()
                calls[name]()
                wait()
                end = clock()
                if round_ >= warm_up:
                    seconds[name].append(end - start)
    return seconds


@contextmanager
def uncollected() -> Iterator[None]:
    """Take out the rubbish now, so that nobody's is taken out in another's time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Interval(NamedTuple):
    """Where a median lies, with a probability that is at least `CONFIDENCE`."""

    low: float
    high: float
    confidence: float


def median_interval(values: Sequence[float]) -> Interval | None:
    """Return an interval for the median of what `values` are drawn from, or None if they are fewer than 6.

    It reaches from the k-th smallest value to the k-th largest. Of n independent values the number below the
    median is binomial, whatever their distribution: it lies outside with probability 2 P(Bin(n, 1/2) < k).
    k is the largest that leaves at least `CONFIDENCE` (H. A. David, H. N. Nagaraja, Order Statistics, 2003,
    section 7.1).
    """
    n = len(values)
    outside, best = 0.0, None
    for k in range(1, n // 2 + 1):
        outside += 2 * math.comb(n, k - 1) / 2**n
        if 1 - outside < CONFIDENCE:
            break
        best = k, 1 - outside
    if best is None:
        return None
    k, confidence = best
    ordered = sorted(values)
    return Interval(ordered[k - 1], ordered[n - k], confidence)


class Spread(NamedTuple):
    """The middle of some values, and between which lies half of them."""

    median: float
    lower: float
    upper: float


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, lower, upper)


class Ratio(NamedTuple):
    """How many times as long one takes as another."""

    median: float
    interval: Interval | None


def paired_ratio(times: Sequence[float], base: Sequence[float]) -> Ratio:
    """Return the median of the ratios within each round, with its interval."""
    ratios = [one / other for one, other in zip(times, base, strict=True)]
    return Ratio(statistics.median(ratios), median_interval(ratios))


def exponent(sizes: Sequence[float], amounts: Sequence[float]) -> float | None:
    """Return p of the power law amount ~ size^p: the slope of the least-squares line through the logarithms.

    None where an amount is not positive, or there are fewer than three sizes: two are always on a line.
    """
    if len(set(sizes)) < 3 or min(amounts) <= 0:
        return None
    logarithms = ([math.log(value) for value in values] for values in (sizes, amounts))
    return statistics.linear_regression(*logarithms).slope
