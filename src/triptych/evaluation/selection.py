"""Which row of an evaluation table is best, which others cannot be told from it, and what MSE says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from triptych.errors import UserError
from triptych.metrics import METRICS
from triptych.record import verdict
from triptych.record.events import Evaluated, Figure, Passport


@dataclass(frozen=True)
class Best:
    """The best row by one metric, and how the others compare with it.

    Attributes:
        metric: name of the metric.
        row: the row that has the best figure; of settings measured with several seeds, the first row of those
            that are best in the mean.
        figure: that of the row.
        seeds: how many rows that mean is of.
        others: a row of each other setting, of the same seed where there is one, in the order given, each
            with the verdict on it: `worse`, or `not distinguishable`.
    """

    metric: str
    row: Evaluated
    figure: Figure
    seeds: int
    others: tuple[tuple[Evaluated, verdict.Comparison], ...]

    @property
    def ties(self) -> tuple[Evaluated, ...]:
        """Rows that the measurement does not tell from the best."""
        among = verdict.pairs(len(self.others) + 1)
        alike = [row for row, found in self.others if found.verdict_among(among) == "not distinguishable"]
        return tuple(alike)


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


Known = tuple[Evaluated, Figure, float]
"""A row, its figure of a metric, and the loss of that."""


def comparable(row: Evaluated, metric: str) -> tuple:
    """Return what two rows must share for their figures of a metric to stand in one column.

    Real images on both sides, the extractor, the metric's definition, and the number of images.
    """
    p, figure = row.passport, figure_of(row, metric)
    extractor = p.extractors.get(METRICS[metric].extractor) if metric in METRICS else None
    return p.reference_digest, p.held_out_digest, extractor, figure.version if figure else None, p.count


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

    Of what was measured with several seeds the mean counts: the luckiest of them would flatter it.

    Raises:
        UserError: no row has the metric, or rows differ in what makes figures comparable.
    """
    found = _measured(rows, metric)
    if not found:
        raise UserError(f"select by {metric}", "no row has it", "evaluate with it first")
    settings = _by_setting(found)
    chosen = min(settings, key=_mean_loss)
    best, figure, _ = chosen[0]
    others = []
    for setting in settings:
        same_noise = (entry for entry in setting if entry[0].passport.seed == best.passport.seed)
        row, other, _ = next(same_noise, setting[0])
        paired = verdict.paired(row.passport, best.passport)
        compared = verdict.compare(other, figure, direction(figure), paired=paired)
        if row is not best and compared is not None:
            others.append((row, compared))
    return Best(metric, best, figure, len(chosen), tuple(others))


def best_settings(rows: Sequence[Evaluated], metric: str) -> list[Evaluated]:
    """Return a row of each setting that has this metric, the best setting first: by the mean over its seeds.

    Raises:
        UserError: as of `best_row`.
    """
    return [setting[0][0] for setting in sorted(_by_setting(_measured(rows, metric)), key=_mean_loss)]


def _by_setting(found: Sequence[Known]) -> list[list[Known]]:
    """Return rows in groups that differ in the seed alone, groups in the order of their first row."""
    settings: dict[str, list[Known]] = {}
    for entry in found:
        setting = _identity(replace(entry[0].passport, seed=0))
        settings.setdefault(repr(setting), []).append(entry)
    return list(settings.values())


def _mean_loss(setting: Sequence[Known]) -> float:
    return math.fsum(loss for _, _, loss in setting) / len(setting)


def best_rows(rows: Sequence[Evaluated]) -> dict[str, Best]:
    """Return the best row by each known metric that any row has, in the order in which metrics occur.

    Of rows that were not measured alike those of most images count, and of as many those measured last.
    """
    metrics = dict.fromkeys(figure.metric for row in rows for figure in row.figures)
    alike = {metric: _alike(rows, metric) for metric in metrics}
    return {metric: best_row(found, metric) for metric, found in alike.items() if found}


def _alike(rows: Sequence[Evaluated], metric: str) -> list[Evaluated]:
    """Return the rows of most images that have a known metric, measured alike; the last of equal ones."""
    newest: dict[str, Evaluated] = {}
    for row in rows if metric in METRICS else ():
        if _measured([row], metric):
            key = repr((_identity(row.passport), comparable(row, metric)))
            newest.pop(key, None)
            newest[key] = row
    groups: dict[tuple, list[Evaluated]] = {}
    for row in newest.values():
        key = comparable(row, metric)
        groups[key] = [*groups.pop(key, []), row]  # the group of the last row comes last
    most = max((found[0].passport.count for found in groups.values()), default=0)
    return next((found for found in reversed(groups.values()) if found[0].passport.count == most), [])


def _identity(passport: Passport) -> dict:
    """Return what makes a row what it is: not its networks, and nothing that rounds figures otherwise."""
    free = ("versions", "device", "extractors")
    return {name: value for name, value in asdict(passport).items() if name not in free}


class Chosen(NamedTuple):
    """Which weights an evaluation found best.

    Attributes:
        checkpoint: name of the checkpoint's folder.
        weights: what records call them: `ema`, `ema_long` or `raw`.
    """

    checkpoint: str
    weights: str


def best_names(rows: Sequence[Evaluated]) -> dict[str, Chosen]:
    """Return the weights with the best figures, each by the name that a user may give them: `best-fid`.

    Of rows that were not measured alike those of most images count, and of as many those measured last.

    Args:
        rows: of one run, in the order of its record.
    """
    names = {}
    for metric in dict.fromkeys(figure.metric for row in rows for figure in row.figures):
        found = best_settings(_alike(rows, metric), metric)
        if found:
            best = found[0].passport
            names[f"best-{metric.replace('_', '-')}"] = Chosen(best.checkpoint, best.weights)
    return names


def best_checkpoints(rows: Sequence[Evaluated]) -> set[str]:
    """Return the checkpoints that have the best figure by any metric: those that `best_names` names."""
    return {chosen.checkpoint for chosen in best_names(rows).values()}


def agreement(rows: Sequence[Evaluated], mse: Mapping[tuple[float, str], float], metric: str) -> Agreement:
    """Return how well held-out MSE ranks checkpoints by a metric.

    Args:
        rows: of one run; where a checkpoint has several (guidance scales, samplers), its best counts.
        mse: held-out mean squared error by epoch and kind of weights.
        metric: name of the metric.
    """
    lowest: dict[tuple[float, str], float] = {}
    for row, _, value in _measured(rows, metric):
        drawn = row.passport.epoch, row.passport.weights
        if drawn in mse:
            lowest[drawn] = min(value, lowest.get(drawn, math.inf))
    return Agreement(rank_correlation([mse[drawn] for drawn in lowest], list(lowest.values())), len(lowest))


def recorded(rows: Sequence[Evaluated], passport: Passport, metrics: Mapping[str, str]) -> Evaluated | None:
    """Return what a record already has of a row: all of its figures, be it in several events; else None.

    Versions and hardware may differ: they change figures by rounding alone.

    Args:
        rows: of the record, in its order; of one metric the last counts.
        passport: of the row.
        metrics: those that are wanted, each with the name of its extractor.
    """
    # Older records do not say which weights they are of.
    wanted = _identity(passport), _identity(replace(passport, weights_digest=""))
    same = [row for row in rows if _identity(row.passport) in wanted]
    found: dict[str, Figure] = {}
    for row in same:
        for figure in row.figures:
            extractor = metrics.get(figure.metric)
            if extractor is None or figure.version != METRICS[figure.metric].version:
                continue
            if row.passport.extractors.get(extractor) == passport.extractors[extractor]:
                found[figure.metric] = figure
    if found.keys() != metrics.keys():
        return None
    figures = tuple(found[metric] for metric in metrics)
    extractors = replace(same[-1].passport, extractors=passport.extractors)
    return replace(same[-1], passport=extractors, figures=figures)


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


def _measured(rows: Sequence[Evaluated], metric: str) -> list[Known]:
    """Return rows that have the metric, with its figure and loss; refuse those of unlike passports."""
    found = []
    for row in rows:
        figure = figure_of(row, metric)
        value = None if figure is None else loss(figure)
        if figure is not None and value is not None:
            found.append((row, figure, value))
    if len({comparable(row, metric) for row, _, _ in found}) > 1:
        raise UserError(
            f"compare rows by {metric}",
            "they differ in reference set, held-out images, extractor, definition, or number of images",
            "compare rows that were measured alike",
        )
    return found
