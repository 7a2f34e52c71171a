"""Student's t: how many standard errors a difference must have to be taken for one. Imports no torch."""

from __future__ import annotations

import math
from functools import lru_cache

CONFIDENCE = 0.95
"""Of a verdict by itself, both sides together: one in twenty true nulls is told apart."""


def _tanh_sinh(half: int, step: float) -> list[tuple[float, float]]:
    """Return places in [0, 1], with weights, whose weighted sum is an integral, kinks at its ends or not.

    Takahasi and Mori, Double exponential formulas for numerical integration, 1974: the trapezoidal rule in x,
    of `half` steps to either side, with places (1 + tanh(pi/2 sinh x)) / 2.
    """
    nodes = []
    for i in range(-half, half + 1):
        x = i * step
        inner = math.pi / 2 * math.sinh(x)
        nodes.append(((1 + math.tanh(inner)) / 2, step * math.pi / 4 * math.cosh(x) / math.cosh(inner) ** 2))
    return nodes


NODES = _tanh_sinh(half=32, step=0.1)


@lru_cache(maxsize=1024)
def critical_value(degrees: float, confidence: float = CONFIDENCE) -> float:
    """Return t with P(|T| <= t) = `confidence`: at 95%, 12.706 with one degree of freedom, 2.262 with nine.

    Args:
        degrees: degrees of freedom, from 1 on; need not be whole.
        confidence: between 0 and 1, both sides together.
    """
    low, high = 0.0, 1.0
    while _within(high, degrees) < confidence:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _within(middle, degrees) > confidence else (middle, high)
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
    """Return P(|T| <= t), by an integral over the angle whose tangent is T / sqrt(degrees).

    In that angle the density is a power of the cosine: bounded, and smooth up to a right angle, which a large
    t comes close to.
    """
    end = math.atan(t / math.sqrt(degrees))
    area = end * math.fsum(weight * math.cos(end * place) ** (degrees - 1) for place, weight in NODES)
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    return 2 / math.sqrt(math.pi) * math.exp(scale) * area
