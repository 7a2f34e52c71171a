"""Evaluated rows: which can stand in one table, which is best, and what held-out error says of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from triptych.record import verdict
from triptych.record.events import Evaluated, Event, Figure, Passport
from triptych.report.names import METRICS, metric_name
from triptych.report.run import Run


@dataclass(frozen=True)
class Row:
    """One evaluation of a run."""

    run: Run
    model: str
    """Display name of the run."""
    event: Event[Evaluated]

    @property
    def passport(self) -> Passport:
        """Where the row's figures come from."""
        return self.event.data.passport

    def figure(self, metric: str) -> Figure | None:
        """Return the figure of this metric, None where it was not measured."""
        return next((figure for figure in self.event.data.figures if figure.metric == metric), None)

    @property
    def how(self) -> tuple:
        """All that was chosen about the row except the checkpoint."""
        p = self.passport
        return p.weights, p.sampler, p.guidance, p.clip, p.seed, p.precision

    @property
    def comparable(self) -> tuple:
        """What rows of one table share: how they were measured, and which weights drew the images."""
        return *self.measured, self.passport.weights

    @property
    def measured(self) -> tuple:
        """How the row was measured: by what, against what, of how many images."""
        p = self.passport
        reference = (p.reference_digest, p.reference, p.reference_count, p.held_out_digest)
        return *reference, *sorted(p.extractors.items()), p.count

    @property
    def mse_rank(self) -> int | None:
        """The place of its checkpoint by held-out error, of the same weights; None: unmeasured."""
        return self.run.mse_rank(self.event.step, self.passport.weights)


def rows_of(run: Run, model: str) -> list[Row]:
    """Return the evaluations of a run, the newest of each kind, in the order of checkpoints and settings."""
    newest: dict[tuple, Row] = {}
    for event in run.history.of_kind(Evaluated):
        row = Row(run, model, event)
        newest[(event.step, row.passport.checkpoint, *row.how, *row.comparable)] = row
    return sorted(newest.values(), key=lambda row: (row.event.step, *row.how))


def groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the rows in tables of comparable ones, tables in the order of their first row."""
    tables: dict[tuple, list[Row]] = {}
    for row in rows:
        tables.setdefault(row.comparable, []).append(row)
    return list(tables.values())


def metrics_of(rows: Sequence[Row]) -> list[str]:
    """Return the metrics that any of the rows has: known ones in their order, then others as they occur."""
    found = dict.fromkeys(figure.metric for row in rows for figure in row.event.data.figures)
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


def headline(rows: Sequence[Row]) -> str | None:
    """Return the metric that decides which row is best: the first that any row can be ranked by."""
    return next((metric for metric in metrics_of(rows) if ranked(rows, metric)), None)


def told_apart(a: tuple[float, Row, Figure], b: tuple[float, Row, Figure]) -> bool:
    """Whether the measurement tells two ranked rows apart."""
    return verdict.told_apart(a[2], b[2], metric_name(a[2].metric).better)


@dataclass(frozen=True)
class Surprise:
    """A checkpoint that does better than the one with the lowest held-out error, all else being equal."""

    metric: str
    better: Row
    lowest: Row


def surprise(rows: Sequence[Row]) -> Surprise | None:
    """Return the clearest case of the lowest held-out error not being best; None where there is none.

    Only rows that differ in nothing but the checkpoint are set against one another, and only figures that
    are told apart by their standard errors.
    """
    metric = headline(rows)
    if metric is None:
        return None
    cases = []
    order = ranked(rows, metric)
    for entry in order:
        lowest = entry[1]
        if lowest.mse_rank != 1:
            continue
        for other in order:
            row = other[1]
            same = row.how == lowest.how and row.run is lowest.run
            # Of equal held-out errors neither is beaten by the other.
            higher_error = (row.mse_rank or 0) > 1
            if same and higher_error and other[0] < entry[0] and told_apart(other, entry):
                cases.append((entry[0] - other[0], Surprise(metric, row, lowest)))
    return max(cases, key=lambda case: case[0])[1] if cases else None
