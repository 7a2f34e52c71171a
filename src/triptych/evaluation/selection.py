"""Which row of an evaluation table is best, which others cannot be told from it, and what MSE says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from triptych.errors import UserError
from triptych.metrics import METRICS
from triptych.record import verdict
from triptych.record.events import Evaluated, Figure, Passport


@dataclass(frozen=True)
class Best:
    """The best row by one metric.

    Attributes:
        metric: name of the metric.
        row: the row that has the best figure.
        figure: that figure.
        ties: rows that the measurement does not tell from the best, in the order given.
    """

    metric: str
    row: Evaluated
    figure: Figure
    ties: tuple[Evaluated, ...]


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


def comparable(passport: Passport) -> tuple:
    """Return what two rows must share to stand in one column.

    Real images, extractors, number of images, and which weights: raw ones or an average of them.
    """
    p = passport
    extractors = tuple(sorted(p.extractors.items()))
    return p.reference_digest, p.held_out_digest, extractors, p.count, p.weights


def figure_of(row: Evaluated, metric: str) -> Figure | None:
    """Return the row's figure of this metric, or None where it was not measured."""
    return next((figure for figure in row.figures if figure.metric == metric), None)


def loss(figure: Figure) -> float | None:
    """Return a number that is lower for a better figure, None where there is none.

    Raises:
        UserError: no such metric.
    """
    return verdict.loss(figure, direction(figure))


def direction(figure: Figure) -> verdict.Better:
    """Return which values of the figure's metric are better; UserError: no such metric."""
    if figure.metric not in METRICS:
        raise UserError(f"select by {figure.metric}", "no such metric", f"choose from {', '.join(METRICS)}")
    return METRICS[figure.metric].better


def best_row(rows: Sequence[Evaluated], metric: str) -> Best:
    """Return the best of the rows that have this metric, the first of equals.

    Raises:
        UserError: no row has the metric, or rows differ in what makes figures comparable.
    """
    found = _measured(rows, metric)
    if not found:
        raise UserError(f"select by {metric}", "no row has it", "evaluate with it first")
    best, figure, _ = min(found, key=lambda entry: entry[2])
    ties = tuple(
        row
        for row, other, _ in found
        if row is not best and not verdict.told_apart(figure, other, direction(figure))
    )
    return Best(metric, best, figure, ties)


def best_rows(rows: Sequence[Evaluated]) -> dict[str, Best]:
    """Return the best row by each metric that any row has, in the order in which metrics occur."""
    names = dict.fromkeys(figure.metric for row in rows for figure in row.figures)
    return {name: best_row(rows, name) for name in names if _measured(rows, name)}


def best_checkpoints(rows: Sequence[Evaluated]) -> set[str]:
    """Return the checkpoints that have the best figure by any metric, of those that were measured alike."""
    alike: dict[tuple, list[Evaluated]] = {}
    for row in rows:
        known = tuple(figure for figure in row.figures if figure.metric in METRICS)
        alike.setdefault(comparable(row.passport), []).append(replace(row, figures=known))
    return {best.row.passport.checkpoint for group in alike.values() for best in best_rows(group).values()}


def agreement(rows: Sequence[Evaluated], mse: Mapping[str, float], metric: str) -> Agreement:
    """Return how well held-out MSE ranks checkpoints by a metric.

    Args:
        rows: of one run; where a checkpoint has several (guidance scales, samplers), its best counts.
        mse: held-out mean squared error by name of checkpoint.
        metric: name of the metric.
    """
    lowest: dict[str, float] = {}
    for row, _, value in _measured(rows, metric):
        name = row.passport.checkpoint
        if name in mse:
            lowest[name] = min(value, lowest.get(name, math.inf))
    return Agreement(rank_correlation([mse[name] for name in lowest], list(lowest.values())), len(lowest))


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


def _measured(rows: Sequence[Evaluated], metric: str) -> list[tuple[Evaluated, Figure, float]]:
    """Return rows that have the metric, with its figure and loss; refuse those of unlike passports."""
    found = []
    for row in rows:
        figure = figure_of(row, metric)
        value = None if figure is None else loss(figure)
        if figure is not None and value is not None:
            found.append((row, figure, value))
    if len({comparable(row.passport) for row, _, _ in found}) > 1:
        raise UserError(
            f"compare rows by {metric}",
            "they differ in reference set, held-out images, extractor, number of images, or kind of weights",
            "compare rows that were measured alike",
        )
    return found
