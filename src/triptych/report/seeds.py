"""Runs that differ in nothing but their training seed: what they have in common, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from triptych.record import verdict
from triptych.report import numbers
from triptych.report.document import Block, Cell, Paragraph, Strong, Table
from triptych.report.language import Language
from triptych.report.names import metric_name
from triptych.report.row_tables import MOST_METRICS, NONE, description, metric_label
from triptych.report.rows import Row, metrics_of
from triptych.report.run import distinct
from triptych.report.verdicts import verdict_cells, verdict_titles


@dataclass(frozen=True)
class Pool:
    """Rows of equal settings, one of each training seed."""

    model: str
    rows: tuple[Row, ...]

    @property
    def recipe(self) -> str:
        """What the runs share."""
        return self.rows[0].run.recipe

    def estimates(self, metric: str) -> list[float]:
        """Return the figure of every seed that has this metric."""
        return [figure.estimate for row in self.rows if (figure := row.figure(metric)) is not None]

    def losses(self, metric: str) -> list[float]:
        """Return the loss of every seed that can be ranked by this metric."""
        figures = [figure for row in self.rows if (figure := row.figure(metric)) is not None]
        losses = [verdict.loss(figure, metric_name(metric).better) for figure in figures]
        return [loss for loss in losses if loss is not None]


def pools(rows: Iterable[Row]) -> list[Pool]:
    """Return comparable rows that two training seeds or more have in common, in the order of their first."""
    alike: dict[tuple, dict[int, Row]] = {}
    for row in rows:
        if not row.run.history.imported:
            key = (row.run.recipe, row.event.step, row.passport.checkpoint, *row.how)
            alike.setdefault(key, {}).setdefault(row.run.seed, row)
    found = [tuple(seeds.values()) for seeds in alike.values() if len(seeds) > 1]
    recipes = {(seeds[0].run.backbone, seeds[0].run.recipe) for seeds in found}
    kinds = [backbone for backbone, _ in recipes]
    return [Pool(_model(seeds, kinds), seeds) for seeds in found]


def over_seeds(rows: Sequence[Row], words: Language) -> list[Block]:
    """Return means of rows that differ in nothing but the training seed, and the verdict between models."""
    found = pools(rows)
    metric = _headline(found)
    if metric is None:
        return []
    found = [pool for pool in found if len(pool.losses(metric)) > 1]
    return [Paragraph(words("over_seeds")), _means(found, metric, words), *_verdicts(found, metric, words)]


def _headline(found: Sequence[Pool]) -> str | None:
    """Return the first metric that ranks two seeds of two recipes, else of one; None where none does."""
    metrics = metrics_of([row for pool in found for row in pool.rows])
    recipes = {m: {pool.recipe for pool in found if len(pool.losses(m)) > 1} for m in metrics}
    shared = [metric for metric in metrics if len(recipes[metric]) > 1]
    return next(iter([*shared, *(metric for metric in metrics if recipes[metric])]), None)


def _model(rows: Sequence[Row], kinds: Sequence[str]) -> str:
    """Return what the runs are called: by their backbone, and by their names where others share it."""
    backbone = rows[0].run.backbone
    if kinds.count(backbone) == 1:
        return backbone
    return ", ".join([backbone, *distinct(row.run.origin.name for row in rows)])


def _described(found: Sequence[Pool], words: Language) -> list[dict[str, str]]:
    """Return what tells pools apart, by column title, with the number of their seeds."""
    cells = description([replace(pool.rows[0], model=pool.model) for pool in found], words, True)
    for pool, told in zip(found, cells, strict=True):
        # Whether it is the checkpoint of the lowest error is another thing for every seed.
        told[words("checkpoint")] = words("epoch_n", epoch=numbers.plain(pool.rows[0].passport.epoch))
        told[words("seeds")] = str(len(pool.rows))
    return cells


def _means(found: Sequence[Pool], metric: str, words: Language) -> Table:
    every = metrics_of([row for pool in found for row in pool.rows])
    metrics = [name for name in every if any(len(pool.estimates(name)) > 1 for pool in found)]
    if len(metrics) > MOST_METRICS:
        metrics = [name for name in metrics if metric_name(name).family == "quality"]
    described = _described(found, words)
    best = _ordered(found, metric)[0]
    lines: list[tuple[Cell, ...]] = []
    for pool, cells in zip(found, described, strict=True):
        means: list[Cell] = []
        for name in metrics:
            text = _mean(pool, name)
            means.append(Strong(text) if pool is best and name == metric else text)
        lines.append((*cells.values(), *means))
    return Table((*described[0], *(metric_label(name, words) for name in metrics)), tuple(lines))


def _mean(pool: Pool, metric: str) -> str:
    estimates = pool.estimates(metric)
    if len(estimates) < 2:
        return NONE
    return numbers.uncertain(*verdict.mean_and_error(estimates), metric_name(metric).decimals)


def _ordered(found: Iterable[Pool], metric: str) -> list[Pool]:
    return sorted(found, key=lambda pool: verdict.mean_and_error(pool.losses(metric))[0])


def _verdicts(found: Sequence[Pool], metric: str, words: Language) -> list[Block]:
    """Return the best settings of each model against those of the best model, by their means over seeds."""
    best: dict[str, Pool] = {}
    for pool in _ordered(found, metric):
        best.setdefault(pool.recipe, pool)
    if len(best) < 2:
        return []
    first, *others = best.values()
    described, lines = _described([first, *others], words), []
    for pool, cells in zip(others, described[1:], strict=True):
        comparison = verdict.pooled(pool.losses(metric), first.losses(metric))
        assert comparison is not None, "pools have two seeds or more"
        lines.append((*cells.values(), *verdict_cells(comparison, metric, words)))
    titles = (*described[0], *verdict_titles(metric, words))
    label = words.term(metric_name(metric).label)
    told = words("seeds_against_best", metric=label, model=first.model)
    return [Paragraph(told), Table(titles, tuple(lines))]
