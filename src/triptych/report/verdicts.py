"""Which row is best, which others cannot be told from it, and what held-out error would have chosen."""

from __future__ import annotations

from collections.abc import Sequence

from triptych.record.verdict import Comparison, pairs
from triptych.report import numbers
from triptych.report.document import Block, Note, Paragraph, Table
from triptych.report.language import Language
from triptych.report.names import metric_name
from triptych.report.row_tables import (
    NONE,
    description,
    figure_text,
    row_checkpoint,
    row_name,
    row_settings,
)
from triptych.report.rows import Row, compared, headline, ranked, surprise, tied

LISTED = 10
"""Rows that are set against the best one; those behind them are only counted."""


def verdicts(rows: Sequence[Row], words: Language) -> list[Block]:
    """Return which row of a table is best, the others against it, and whether held-out error misled."""
    metric = headline(rows)
    order = [row for _, row, _ in ranked(rows, metric)] if metric else []
    if metric is None or len(order) < 2:
        return []
    return [*_best(order, metric, words), *against_best(order, metric, words), *_misled(rows, metric, words)]


def against_best(
    order: Sequence[Row], metric: str, words: Language, across_models: bool = False
) -> list[Block]:
    """Return how far rows are behind the first by a metric, with the error of that and the verdict.

    Args:
        order: rows that have the metric, best first.
        metric: its name.
        words: the language.
        across_models: whether to name the model of each row.
    """
    best, others = order[0], order[1:]
    found = [comparison for row in others if (comparison := compared(row, best, metric)) is not None]
    if all(comparison.error is None for comparison in found):
        return []
    described = description(order, words, across_models)[1:]
    lines = [
        (
            *cells.values(),
            *verdict_cells(comparison, metric, words, pairs(len(order))),
            words("yes" if comparison.paired else "no"),
        )
        for cells, comparison in zip(described, found, strict=True)
    ]
    titles = (*described[0], *verdict_titles(metric, words), words("same_noise"))
    label = words.term(metric_name(metric).label)
    blocks: list[Block] = [
        Paragraph(words("against_best", metric=label)),
        Table(titles, tuple(lines[:LISTED])),
    ]
    if len(lines) > LISTED:
        alike = sum(tied(comparison, len(order)) for comparison in found[LISTED:])
        blocks.append(Paragraph(words("more_behind", count=len(lines) - LISTED, alike=alike)))
    return blocks


def verdict_titles(metric: str, words: Language) -> tuple[str, str]:
    """Return the column titles of `verdict_cells`."""
    return words("behind", metric=words.term(metric_name(metric).label)), words("verdict")


def verdict_cells(comparison: Comparison, metric: str, words: Language, among: int = 1) -> tuple[str, str]:
    """Return how far a figure is behind another, with its error, and the verdict among so many, in words."""
    decimals = metric_name(metric).decimals
    keys = {"better": "better", "worse": "worse", "not distinguishable": "not_distinguishable"}
    key = "not_known" if comparison.error is None else keys[comparison.verdict_among(among)]
    return numbers.uncertain(comparison.difference, comparison.error, decimals), words(key)


def _best(order: Sequence[Row], metric: str, words: Language) -> list[Block]:
    best, *others = order
    figure = best.figure(metric)
    assert figure is not None, "ranked rows have the metric"
    ties = sum(tied(compared(row, best, metric), len(order)) for row in others)
    text = words(
        "best_row_ties" if ties else "best_row",
        metric=words.term(metric_name(metric).label),
        row=row_name(best, words),
        value=figure_text(figure),
        ties=ties,
    )
    return [Paragraph(text)]


def _misled(rows: Sequence[Row], metric: str, words: Language) -> list[Block]:
    """Return a note where the checkpoint with the lowest held-out error would have been a worse choice."""
    case = surprise(rows)
    if case is None:
        return []
    better, lowest = case.better.figure(metric), case.lowest.figure(metric)
    note = words(
        "mse_note",
        settings=row_settings(case.better, words),
        better=row_checkpoint(case.better, words),
        lowest=words("epoch_n", epoch=numbers.plain(case.lowest.passport.epoch)),
        metric=words.term(metric_name(metric).label),
        value=figure_text(better) if better else NONE,
        other=figure_text(lowest) if lowest else NONE,
    )
    return [Note(note)]
