"""Evaluated rows: which can stand in one table, which is best, and what held-out error says of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from triptych.record import verdict
from triptych.record.events import Evaluated, Event, Figure, Passport
from triptych.record.verdict import Comparison
from triptych.report.names import METRICS, metric_name, sampler_parts
from triptych.report.run import Run


@dataclass(frozen=True)
class Row:
    """What is known of the images that one request to a checkpoint drew."""

    run: Run
    model: str
    """Display name of the run."""
    events: tuple[Event[Evaluated], ...]
    """Evaluations of these images, the newest first: one, or more where unlike extractors measured them."""

    @property
    def event(self) -> Event[Evaluated]:
        """The newest evaluation."""
        return self.events[0]

    @property
    def passport(self) -> Passport:
        """Where the figures come from; what evaluations may differ in is that of the newest."""
        return self.event.data.passport

    @property
    def passports(self) -> list[Passport]:
        """Those of all evaluations, the newest first."""
        return [event.data.passport for event in self.events]

    @cached_property
    def extractors(self) -> dict[str, str]:
        """The sha256 of every network that measured them, by name."""
        return {name: digest for passport in self.passports for name, digest in passport.extractors.items()}

    @cached_property
    def versions(self) -> dict[str, int]:
        """The version of the definition of every metric that it has."""
        return {name: figure.version for name, figure in self.figures.items()}

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """The newest figure of each metric, in the order in which metrics occur."""
        return {figure.metric: figure for event in reversed(self.events) for figure in event.data.figures}

    def figure(self, metric: str) -> Figure | None:
        """Return the figure of this metric, None where it was not measured."""
        return self.figures.get(metric)

    @property
    def weights(self) -> str:
        """Which weights drew it, such as `ema`; of a small copy, with what these were rounded to."""
        rounded = self.run.roundings.get(self.passport.weights_digest, "")
        return ", ".join(filter(None, (self.passport.weights, rounded)))

    @property
    def how(self) -> tuple:
        """All that was chosen about the row except the checkpoint."""
        p = self.passport
        return self.weights, p.sampler, p.guidance, p.guide, p.weak_digest, p.clip, p.seed, p.precision

    @property
    def measured(self) -> tuple:
        """What rows of one table share: of how many images, against which real ones."""
        p = self.passport
        return p.reference_digest, p.reference, p.reference_count, p.held_out_digest, p.count

    @property
    def seconds_per_image(self) -> float:
        """Of drawing alone; NaN where it was not told apart from measuring."""
        if self.event.data.measuring_took is None:
            return math.nan
        return self.event.data.generation_took / self.passport.count

    @property
    def mse_rank(self) -> int | None:
        """The place of its checkpoint by held-out error, of the same weights; None: unmeasured."""
        return self.run.mse_rank(self.event.step, self.passport.weights)


def rows_of(run: Run, model: str) -> list[Row]:
    """Return what was evaluated of a run, in the order of checkpoints and settings.

    Evaluations of the same images by unlike extractors are one row. Of those by one extractor the newest
    holds; one whose network has changed since is a row of its own.
    """
    rows: list[Row] = []
    for event in reversed(run.history.of_kind(Evaluated)):
        row = Row(run, model, (event,))
        same = next((i for i, other in enumerate(rows) if _same_images(row, other)), None)
        if same is None:
            rows.append(row)
        else:
            rows[same] = Row(run, model, (*rows[same].events, event))
    rows.reverse()
    return sorted(rows, key=_place)


def groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the rows in tables of comparable ones, tables in the order of their first row.

    The rows of a table were measured alike: each metric that two of them have, by the same network. A row
    that would fit into several goes where most of its networks are.
    """
    tables: list[list[Row]] = []
    for row in rows:
        fitting = [table for table in tables if all(_measured_alike(row, other) for other in table)]
        if fitting:
            max(fitting, key=lambda table: _shared(row, table)).append(row)
        else:
            tables.append([row])
    return tables


def metrics_of(rows: Sequence[Row]) -> list[str]:
    """Return the metrics that any of the rows has: known ones in their order, then others as they occur."""
    found = dict.fromkeys(metric for row in rows for metric in row.figures)
    return [*(key for key in METRICS if key in found), *(key for key in found if key not in METRICS)]


def ranked(rows: Sequence[Row], metric: str) -> list[tuple[float, Row, Figure]]:
    """Return the rows that have a figure of this metric, best first, each with its loss."""
    found = []
    for row in rows:
        figure = row.figure(metric)
        value = None if figure is None else verdict.loss(figure, metric_name(metric).better)
        if figure is not None and value is not None:
            found.append((value, row, figure))
    return sorted(found, key=lambda entry: entry[0])


def headline(rows: Sequence[Row], *, across_models: bool = False) -> str | None:
    """Return the metric that decides which row is best: the first that two rows can be ranked by.

    Where there is none, the first that any can be. With `across_models`, two rows are those of two models.
    """
    ranks = {metric: [row for _, row, _ in ranked(rows, metric)] for metric in metrics_of(rows)}
    usable = [metric for metric, order in ranks.items() if order]
    shared = [m for m in usable if len({row.model for row in ranks[m]} if across_models else ranks[m]) > 1]
    return next(iter([*shared, *usable]), None)


def compared(a: Row, b: Row, metric: str) -> Comparison | None:
    """Return the verdict on a row against another; None where either cannot be ranked by this metric."""
    x, y = a.figure(metric), b.figure(metric)
    if x is None or y is None:
        return None
    return verdict.compare(x, y, metric_name(metric).better, paired=verdict.paired(a.passport, b.passport))


def tied(comparison: Comparison | None, count: int) -> bool:
    """Whether a measurement that knows its error does not tell a row from the best of `count`."""
    if comparison is None or comparison.error is None:
        return False
    return comparison.verdict_among(verdict.pairs(count)) == "not distinguishable"


@dataclass(frozen=True)
class Surprise:
    """A checkpoint that does better than the one with the lowest held-out error, all else being equal."""

    metric: str
    better: Row
    lowest: Row


def surprise(rows: Sequence[Row]) -> Surprise | None:
    """Return the clearest case of the lowest held-out error not being best; None where there is none.

    Only rows that differ in nothing but the checkpoint are set against one another, and only figures that
    are told apart by their standard errors, as far apart as the best of so many has to be.
    """
    metric = headline(rows)
    if metric is None:
        return None
    found: list[tuple[Comparison, Surprise]] = []
    order = ranked(rows, metric)
    for _, lowest, _ in order:
        if lowest.mse_rank != 1:
            continue
        for _, row, _ in order:
            same = row.how == lowest.how and row.run is lowest.run
            # Of equal held-out errors neither is beaten by the other.
            higher_error = (row.mse_rank or 0) > 1
            comparison = compared(row, lowest, metric)
            if same and higher_error and comparison is not None and comparison.error is not None:
                found.append((comparison, Surprise(metric, row, lowest)))
    cases = [(known, case) for known, case in found if known.verdict_among(len(found)) == "better"]
    return min(cases, key=lambda entry: entry[0].difference)[1] if cases else None


def _place(row: Row) -> tuple:
    """Return what rows are sorted by: samplers by name, then by number of steps, fewer first."""
    weights, sampler, *rest = row.how
    method, steps = sampler_parts(sampler)
    return row.event.step, weights, method, int(steps) if steps.isdecimal() else 0, *rest


def _same_images(a: Row, b: Row) -> bool:
    def drawn(row: Row) -> tuple:
        return row.event.step, row.passport.checkpoint, *row.how

    return drawn(a) == drawn(b) and _measured_alike(a, b)


def _measured_alike(a: Row, b: Row) -> bool:
    alike = _agree(a.extractors, b.extractors) and _agree(a.versions, b.versions)
    return a.measured == b.measured and alike


def _agree(a: Mapping[str, object], b: Mapping[str, object]) -> bool:
    return all(b.get(name, value) == value for name, value in a.items())


def _shared(row: Row, table: Sequence[Row]) -> int:
    return sum(any(name in other.extractors for other in table) for name in row.extractors)
