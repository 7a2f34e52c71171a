"""Student's t: how many standard errors a difference must have to be taken for one. Imports no torch."""

from __future__ import annotations

import math
from functools import lru_cache

CONFIDENCE = 0.95
"""Of every verdict, both sides together: one in twenty true nulls is told apart."""
INTERVALS = 256
"""Of Simpson's rule; even."""


@lru_cache(maxsize=1024)
def critical_value(degrees: float) -> float:
    """Return the 0.975 quantile of Student's t: 12.706 with one degree of freedom, 2.262 with nine.

    Args:
        degrees: degrees of freedom, from 1 on; need not be whole.
    """
    low, high = 1.9, 12.8
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _within(middle, degrees) > CONFIDENCE else (middle, high)
    return (low + high) / 2


def welch_degrees(variance_a: float, degrees_a: float, variance_b: float, degrees_b: float) -> float:
    """Return the degrees of freedom of a difference, by those of its two sides.

    Welch, The generalization of Student's problem when several different population variances are involved,
    1947, and Satterthwaite, 1946. Where neither side varies, the two are added up.

    Args:
        variance_a: squared standard error of one side.
        degrees_a: degrees of freedom of that error.
        variance_b: squared standard error of the other side.
        degrees_b: degrees of freedom of that error.
    """
    total = variance_a + variance_b
    if total == 0:
        return degrees_a + degrees_b
    share_a, share_b = variance_a / total, variance_b / total
    return 1 / (share_a**2 / degrees_a + share_b**2 / degrees_b)


def _within(t: float, degrees: float) -> float:
    """Return P(|T| <= t), by Simpson's rule over the angle whose tangent is T / sqrt(degrees).

    In that angle the density is a power of the cosine: bounded, smooth, and never near its singular end.
    """
    step = math.atan(t / math.sqrt(degrees)) / INTERVALS
    density = [math.cos(i * step) ** (degrees - 1) for i in range(INTERVALS + 1)]
    area = density[0] + density[-1] + 4 * math.fsum(density[1::2]) + 2 * math.fsum(density[2:-1:2])
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    return 2 / math.sqrt(math.pi) * math.exp(scale) * area * step / 3
