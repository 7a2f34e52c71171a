"""Which of two figures is the better one, and whether the measurement tells them apart. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from triptych.jackknife import paired_spread
from triptych.record.figures import Figure, Passport
from triptych.record.student import CONFIDENCE, critical_value, welch_degrees

Better = Literal["lower", "higher", "real", "unknown"]
"""Which of a metric's values is better; `real`: the nearer to that of real images."""
Verdict = Literal["better", "worse", "not distinguishable"]
"""Of the first of two, against the second."""

GROUPS = 10
"""Jackknife groups behind a spread that comes without them: in an older record, and of a real figure."""


@dataclass(frozen=True)
class Comparison:
    """The difference of two losses, how sure it is, and the verdict that follows."""

    difference: float
    """In units of the metric; negative where the first is the better."""
    error: float | None
    """Standard error of the difference; None where nobody knows it."""
    degrees: float
    """Degrees of freedom of that error."""
    paired: bool
    """Whether both were measured on the same noise, which then cancels."""

    @property
    def verdict(self) -> Verdict:
        """Two-sided, by Student's t at 95%: two that are alike pass for unlike in one of twenty comparisons.

        A difference whose error nobody knows tells nothing, however large.
        """
        return self.verdict_among(1)

    def verdict_among(self, comparisons: int) -> Verdict:
        """Return the verdict where so many are made to pick from, by Bonferroni's correction.

        Of as many comparisons of what is alike, any passes for unlike in one of twenty cases at most.
        """
        confidence = 1 - (1 - CONFIDENCE) / comparisons
        if (
            self.error is None
            or not abs(self.difference) > critical_value(self.degrees, confidence) * self.error
        ):
            return "not distinguishable"
        return "better" if self.difference < 0 else "worse"


def loss(figure: Figure, better: Better) -> float | None:
    """Return a number that is lower for a better figure.

    None where nobody knows which way is better, where the figure is NaN, and where it should be near a real
    one that was not measured.
    """
    if math.isnan(figure.estimate):
        return None
    if better == "real":
        return None if figure.real is None else abs(figure.estimate - figure.real)
    return {"lower": figure.estimate, "higher": -figure.estimate}.get(better)


def compare(a: Figure, b: Figure, better: Better, *, paired: bool) -> Comparison | None:
    """Return the verdict on two figures of one metric; None where either has no loss.

    The error is that of the jackknife on the differences, group by group, where both figures are of the same
    noise: what the noise does to both alike cancels. Else it is that of two independent figures. Where the
    two lie on opposite sides of the real figure, its own error comes on top; on one side it cancels.

    Args:
        a: the figure that the verdict is on.
        b: the one that it is held against.
        better: which values of the metric are better.
        paired: whether both are of the same noise (`paired`). Without effect where a figure has no groups.
    """
    x, y = loss(a, better), loss(b, better)
    if x is None or y is None:
        return None
    groups_a, groups_b = _losses_left_out(a, better), _losses_left_out(b, better)
    if paired and len(groups_a) == len(groups_b) > 1 and _all_finite(groups_a, groups_b):
        found = Comparison(x - y, paired_spread(groups_a, groups_b), len(groups_a) - 1, True)
    elif a.spread is None or b.spread is None:
        found = Comparison(x - y, None, math.inf, False)
    else:
        found = _independent(x - y, a.spread, _degrees(a), b.spread, _degrees(b))
    return _across_real(found, a, b) if better == "real" and _beyond(a) != _beyond(b) else found


def pairs(count: int) -> int:
    """Return how many comparisons are behind saying which of `count` figures is not the best.

    The best is chosen by the same figures, so that any two of them may be the ones that are compared.
    """
    return max(1, count * (count - 1) // 2)


def paired(a: Passport, b: Passport) -> bool:
    """Whether image j of two rows was drawn from the same noise and asked for the same class.

    And measured against the same reference.
    """
    return _drawn_of(a) == _drawn_of(b)


def pooled(losses_a: Sequence[float], losses_b: Sequence[float]) -> Comparison | None:
    """Return the verdict on two sets of runs that differ, within a set, in nothing but the training seed.

    Welch's t-test on the losses of their figures. What these owe to the noise of their images is part of the
    scatter between seeds, but for what all runs share of it, which their difference lacks. None with fewer
    than two runs in either set.
    """
    if min(len(losses_a), len(losses_b)) < 2:
        return None
    (x, error_a), (y, error_b) = mean_and_error(losses_a), mean_and_error(losses_b)
    return _independent(x - y, error_a, len(losses_a) - 1, error_b, len(losses_b) - 1)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of two values or more, and its standard error."""
    count = len(values)
    mean = math.fsum(values) / count
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count)


def _losses_left_out(figure: Figure, better: Better) -> list[float]:
    """Return the loss with each group left out, but for a constant.

    The distance from a real figure keeps the side on which the whole estimate lies: folded anew for every
    group, a figure that is as good as real would scatter less than it does.
    """
    sign = 1.0 if better == "lower" or (better == "real" and _beyond(figure)) else -1.0
    return [sign * value for value in figure.groups]


def _beyond(figure: Figure) -> bool:
    """Whether a figure lies above the real one, or on it."""
    return figure.real is not None and figure.estimate >= figure.real


def _across_real(found: Comparison, a: Figure, b: Figure) -> Comparison:
    """Add the error of the real figure to a comparison of figures on either side of it.

    The difference of their distances is then a + b - 2 real, up to its sign. Each figure counts the error of
    the real one beside it; where the two are unlike, they are of much the same images, and add up in full.
    """
    error = (a.real_spread or 0.0) + (b.real_spread or 0.0)
    if found.error is None or error == 0:
        return found
    degrees = welch_degrees(found.error**2, found.degrees, error**2, GROUPS - 1)
    return replace(found, error=math.hypot(found.error, error), degrees=degrees)


def _independent(
    difference: float, error_a: float, degrees_a: float, error_b: float, degrees_b: float
) -> Comparison:
    degrees = welch_degrees(error_a**2, degrees_a, error_b**2, degrees_b)
    return Comparison(difference, math.hypot(error_a, error_b), degrees, False)


def _degrees(figure: Figure) -> int:
    return (len(figure.groups) or GROUPS) - 1


def _drawn_of(passport: Passport) -> tuple:
    p = passport
    return p.seed, p.count, p.reference_digest, p.told_class


def _all_finite(*groups: Sequence[float]) -> bool:
    return all(math.isfinite(value) for group in groups for value in group)
