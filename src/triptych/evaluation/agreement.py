"""How far held-out error puts checkpoints in the order of a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from triptych.evaluation.selection import measured_by
from triptych.record.events import Evaluated


@dataclass(frozen=True)
class Agreement:
    """How far held-out MSE and a metric put checkpoints in the same order.

    Attributes:
        correlation: Spearman's rank correlation: 1 where the lower MSE always has the better figure, -1
            where it always has the worse; None with fewer than three checkpoints, or where all are equal.
        checkpoints: number of checkpoints that have both figures.
    """

    correlation: float | None
    checkpoints: int


def agreement(rows: Sequence[Evaluated], mse: Mapping[tuple[float, str], float], metric: str) -> Agreement:
    """Return how well held-out MSE ranks checkpoints by a metric.

    Args:
        rows: of one run; where a checkpoint has several (guidance scales, samplers), its best counts.
        mse: held-out mean squared error by epoch and kind of weights.
        metric: name of the metric.
    """
    lowest: dict[tuple[float, str], float] = {}
    for row, _, value in measured_by(rows, metric):
        drawn = row.passport.epoch, row.passport.weights
        if drawn in mse:
            lowest[drawn] = min(value, lowest.get(drawn, math.inf))
    return Agreement(rank_correlation([mse[drawn] for drawn in lowest], list(lowest.values())), len(lowest))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, equal values sharing their mean rank.

    None with fewer than three pairs, where it is always 1 or -1, or where either side is constant.
    """
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    a, b = _centred_ranks(x), _centred_ranks(y)
    covariance = math.fsum(p * q for p, q in zip(a, b, strict=True))
    return covariance / math.sqrt(math.fsum(p * p for p in a) * math.fsum(q * q for q in b))


def _centred_ranks(values: Sequence[float]) -> list[float]:
    below = [sum(other < value for other in values) for value in values]
    equal = [sum(other == value for other in values) for value in values]
    return [b + (e - 1) / 2 - (len(values) - 1) / 2 for b, e in zip(below, equal, strict=True)]
