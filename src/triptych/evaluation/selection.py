"""Which row of an evaluation table is best, and which others cannot be told from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from triptych.errors import UserError
from triptych.jackknife import jackknife_spread
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
        figure: that of the row, or the mean over seeds.
        seeds: how many rows that mean is of.
        others: the first row of each other setting, in the order given, each with the verdict on the setting:
            `worse` or `not distinguishable`; `better` where, of unlike seeds, those that both have say so.
    """

    metric: str
    row: Evaluated
    figure: Figure
    seeds: int
    others: tuple[tuple[Evaluated, verdict.Comparison], ...]

    @property
    def ties(self) -> tuple[Evaluated, ...]:
        """Rows that the measurement does not tell from the best."""
        return self._with("not distinguishable")

    @property
    def worse(self) -> tuple[Evaluated, ...]:
        """Rows that it tells to be worse."""
        return self._with("worse")

    def _with(self, wanted: verdict.Verdict) -> tuple[Evaluated, ...]:
        among = verdict.pairs(len(self.others) + 1)
        return tuple(row for row, found in self.others if found.verdict_among(among) == wanted)


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
    found = measured_by(rows, metric)
    if not found:
        raise UserError(f"select by {metric}", "no row has it", "evaluate with it first")
    settings = _by_setting(found)
    chosen = min(settings, key=_mean_loss)
    others = []
    for setting in settings:
        compared = _compared(setting, chosen)
        if setting is not chosen and compared is not None:
            others.append((setting[0][0], compared))
    figure = _pooled([figure for _, figure, _ in chosen])
    return Best(metric, chosen[0][0], figure, len(chosen), tuple(others))


def _compared(setting: Sequence[Known], chosen: Sequence[Known]) -> verdict.Comparison | None:
    """Return the verdict on a setting against another: of the seeds that both have, if there are any."""
    by_seed = [{row.passport.seed: (row, figure) for row, figure, _ in rows} for rows in (setting, chosen)]
    shared = [seed for seed in by_seed[0] if seed in by_seed[1]]
    mine, best = ([rows[seed] for seed in shared or rows] for rows in by_seed)
    paired = bool(shared) and all(
        verdict.paired(a.passport, b.passport) for (a, _), (b, _) in zip(mine, best, strict=True)
    )
    figures = [_pooled([figure for _, figure in rows]) for rows in (mine, best)]
    return verdict.compare(*figures, direction(figures[0]), paired=paired)


def _pooled(figures: Sequence[Figure]) -> Figure:
    """Return the mean of a metric over seeds, with its spread: from the means over groups, which pair up."""
    first, count = figures[0], len(figures)
    if count == 1:
        return first
    sizes, groups = {len(figure.groups) for figure in figures}, ()
    if len(sizes) == 1:
        left_out = zip(*(figure.groups for figure in figures), strict=True)
        groups = tuple(math.fsum(values) / count for values in left_out)
    spreads = [figure.spread for figure in figures if figure.spread is not None]
    spread = math.hypot(*spreads) / count if len(spreads) == count else None
    return replace(
        first,
        estimate=math.fsum(figure.estimate for figure in figures) / count,
        spread=jackknife_spread(groups) if groups else spread,
        groups=groups,
        n=sum(figure.n for figure in figures),
    )


def best_settings(rows: Sequence[Evaluated], metric: str) -> list[Evaluated]:
    """Return a row of each setting that has this metric, the best setting first: by the mean over its seeds.

    Raises:
        UserError: as of `best_row`.
    """
    return [setting[0][0] for setting in sorted(_by_setting(measured_by(rows, metric)), key=_mean_loss)]


def _by_setting(found: Sequence[Known]) -> list[list[Known]]:
    """Return rows in groups that differ in the seed alone, groups in the order of their first row."""
    settings: dict[str, list[Known]] = {}
    for entry in found:
        setting = _identity(replace(entry[0].passport, seed=0))
        settings.setdefault(repr(setting), []).append(entry)
    return list(settings.values())


def _mean_loss(setting: Sequence[Known]) -> float:
    value = loss(_pooled([figure for _, figure, _ in setting]))
    return math.inf if value is None else value


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
        if measured_by([row], metric):
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


def measured_by(rows: Sequence[Evaluated], metric: str) -> list[Known]:
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
