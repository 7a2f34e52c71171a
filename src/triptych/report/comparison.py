"""Models side by side: the best row of each, how sure the order is, and what training seeds make of it."""

from __future__ import annotations

from collections.abc import Sequence

from triptych.report import numbers
from triptych.report.document import Block, Paragraph
from triptych.report.evaluation import legend
from triptych.report.language import Language
from triptych.report.names import metric_name
from triptych.report.row_tables import figures_tables, unlike_rows
from triptych.report.rows import Row, groups, headline, ranked, rows_of
from triptych.report.run import Run
from triptych.report.seeds import over_seeds
from triptych.report.verdicts import against_best


def comparison(runs: Sequence[tuple[str, Run]], words: Language, *, unlike: bool = False) -> list[Block]:
    """Return the best row of each model, where some were measured alike, and means over training seeds.

    With `unlike`, all rows come in one table as well, however they were measured, where they were not alike.
    """
    blocks: list[Block] = []
    rows = [row for name, run in runs for row in rows_of(run, name)]
    tables = groups(rows)
    if unlike and len(tables) > 1:
        blocks += unlike_rows(rows, words)
    for table in tables:
        metric = headline(table, across_models=True)
        best: dict[str, Row] = {}
        for _, row, _ in ranked(table, metric) if metric else []:
            best.setdefault(row.model, row)
        if metric is None or len(best) < 2:
            continue
        inner = [best[name] for name, _ in runs if name in best]
        blocks.append(Paragraph(_title(metric, inner[0], words)))
        blocks += [*figures_tables(inner, words, across_models=True), *legend(inner, words)]
        judged = against_best(list(best.values()), metric, words, across_models=True)
        blocks += [*judged, *([Paragraph(words("images_alone"))] if judged else [])]
        blocks += over_seeds(table, words)
    return blocks


def _title(metric: str, row: Row, words: Language) -> str:
    """Return what is compared, of how many images: several tables may differ in that alone."""
    count = numbers.count(row.passport.count)
    return words("comparison", metric=words.term(metric_name(metric).label), count=count)
