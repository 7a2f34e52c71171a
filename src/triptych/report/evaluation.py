"""The evaluation side of a run: what was measured, how sure it is, and which row is best."""

from __future__ import annotations

from collections.abc import Sequence

from triptych.record.figures import Figure
from triptych.report import numbers
from triptych.report.assets import Assets
from triptych.report.document import Block, Items, Note, Paragraph, Picture, Pictures, Table
from triptych.report.language import Language
from triptych.report.names import DISTANCES, MEMORISATION, metric_name
from triptych.report.numbers import DIGEST
from triptych.report.plots import drawings
from triptych.report.row_tables import NONE, fewer, figures_tables, metric_label, real_side, row_name
from triptych.report.rows import Row, compared, groups, headline, metrics_of, ranked, rows_of, tied
from triptych.report.run import Run, distinct
from triptych.report.training import device
from triptych.report.verdicts import verdicts

PICTURE_WIDTH = 780


def evaluation(run: Run, model: str, words: Language, assets: Assets) -> list[Block]:
    """Return all evaluations of a run, in tables of comparable rows, and drawn."""
    rows = rows_of(run, model)
    if not rows:
        return [Paragraph(words("no_evaluations"))]
    blocks: list[Block] = []
    for number, table in enumerate(groups(rows), start=1):
        if blocks:
            blocks.append(Paragraph(words("other_measurement")))
        blocks += [_facts(table, words), *figures_tables(table, words)]
        blocks += legend(table, words)
        blocks += verdicts(table, words)
        blocks += _pictures(run, table, "" if number == 1 else f"-{number}", words, assets)
        blocks += _by_class(table, words)
        blocks += _nearest(table, words)
    return blocks


def legend(rows: Sequence[Row], words: Language) -> list[Block]:
    """Return what the signs of a table mean, those of them that occur."""
    figures = [figure for row in rows for figure in row.figures.values()]
    meanings = []
    if any(figure.spread is not None for figure in figures):
        meanings.append(words("spread_meaning"))
    if any(figure.split_std is not None for figure in figures):
        meanings.append(words("split_meaning"))
    if any(_has_ties(rows, metric) for metric in metrics_of(rows)):
        meanings.append(words("tie_meaning"))
    if any(map(fewer, figures)):
        meanings.append(words("fewer_meaning"))
    if real_side(rows).endswith("/train") and any(figure.metric in MEMORISATION for figure in figures):
        meanings.append(words("nearest_meaning"))
    return [Paragraph(" ".join(meanings))] if meanings else []


def _has_ties(rows: Sequence[Row], metric: str) -> bool:
    order = ranked(rows, metric)
    return any(tied(compared(row, order[0][1], metric), len(order)) for _, row, _ in order[1:])


def _facts(rows: Sequence[Row], words: Language) -> Items:
    """Return what all rows of a table share."""
    passport = rows[0].passport
    events = [event.data for row in rows for event in row.events]
    used = words("comma").join(distinct(device(data.passport.device, words) for data in events))
    precision = words("comma").join(distinct(row.passport.precision for row in rows))
    sizes = words("comma").join(distinct(numbers.count(data.batch_size) for data in events))
    reference, pixels = passport.reference_digest[:DIGEST], rows[0].run.origin.data.image_size
    key = "reference" if reference else "reference_bare"
    size = numbers.count(passport.reference_count)
    side, digest = real_side(rows), passport.held_out_digest[:DIGEST]
    beside = words("beside_set", name=side, digest=digest) if side else words("held_out_set", digest=digest)
    guides = [(row.passport.guide, row.passport.weak_digest) for row in rows]
    led = [(guide, digest) for guide, digest in dict.fromkeys(guides) if digest]
    extractors = {name: digest for row in rows for name, digest in row.extractors.items()}
    return Items(
        (
            words("sampling_hardware", device=used),
            *([words("sampling_precision", precision=precision)] if precision else []),
            words(key, name=passport.reference, size=pixels, count=size, digest=reference),
            *([beside] if digest else []),
            *(words("extractor", name=n, digest=d[:DIGEST]) for n, d in sorted(extractors.items())),
            *(words("weaker", guide=guide, digest=digest[:DIGEST]) for guide, digest in led),
            words("measured", count=numbers.count(passport.count)),
            *([words("batch_size", size=sizes)] if sizes != "0" else []),
        )
    )


def _best(rows: Sequence[Row]) -> Row:
    """Return the best row, the last where none can be ranked."""
    metric = headline(rows)
    return ranked(rows, metric)[0][1] if metric else rows[-1]


def _pictures(run: Run, rows: Sequence[Row], number: str, words: Language, assets: Assets) -> list[Block]:
    """Return what is drawn of a table, each picture under its caption; nothing without matplotlib."""
    blocks: list[Block] = []
    for drawing in drawings(rows, words):
        path = assets.draw(run, f"{drawing.name}{number}", drawing.draw)
        if path is not None:
            blocks += _picture(path, drawing.caption, words)
    return blocks


def _picture(path: str, caption: str, words: Language) -> list[Block]:
    return [
        Paragraph(words("single_picture", caption=caption)),
        Pictures((Picture(path, caption),), PICTURE_WIDTH),
    ]


def _by_class(rows: Sequence[Row], words: Language) -> list[Block]:
    """Return the figures of the best row class by class, beside those of real images."""
    row = _best(rows)
    figures = [figure for metric in metrics_of(rows) if (figure := row.figure(metric)) and figure.per_class]
    if not figures:
        return []
    titles, columns = [words("class")], []
    for figure in figures:
        decimals = metric_name(figure.metric).decimals
        titles.append(metric_label(figure.metric, words))
        columns.append([numbers.figure(value, decimals) for value in figure.per_class or ()])
        if figure.real_per_class:
            titles.append(words("of_real", metric=words.term(metric_name(figure.metric).label)))
            columns.append([numbers.figure(value, decimals) for value in figure.real_per_class])
    count = max(len(column) for column in columns)
    names = row.run.origin.data.class_names
    labels = names if len(names) == count else tuple(str(i) for i in range(count))
    padded = [column + [NONE] * (count - len(column)) for column in columns]
    lines = tuple((label, *cells) for label, *cells in zip(labels, *padded, strict=True))
    table = [Paragraph(words("per_class", row=row_name(row, words))), Table(tuple(titles), lines)]
    return [*table, *_few_of_class(figures, words)]


def _few_of_class(figures: Sequence[Figure], words: Language) -> list[Block]:
    """Return how few images stand behind distances of single classes, which are biased by it."""
    counts = [n for figure in figures if figure.metric in DISTANCES for n in figure.per_class_n or ()]
    return [Note(words("few_of_class", count=numbers.count(min(counts))))] if counts else []


def _nearest(rows: Sequence[Row], words: Language) -> list[Block]:
    """Return generated images beside their nearest training images, of the best row that has them."""
    metric = headline(rows)
    order = [row for _, row, _ in ranked(rows, metric)] if metric else list(rows)
    for row in order:
        path = next((event.data.nearest for event in row.events if event.data.nearest), None)
        if path is not None:
            caption = words("nearest_caption", row=row_name(row, words))
            return _picture(row.run.picture(path), caption, words)
    return []
