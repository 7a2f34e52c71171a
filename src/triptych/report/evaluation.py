"""The evaluation side of a report: what was measured, how sure it is, and which row is best."""

from __future__ import annotations

from collections.abc import Sequence

from triptych.record.events import Figure
from triptych.report import numbers
from triptych.report.document import Block, Cell, Items, Note, Paragraph, Strong, Table
from triptych.report.language import Language
from triptych.report.names import metric_name
from triptych.report.numbers import DIGEST
from triptych.report.rows import Row, groups, headline, metrics_of, ranked, rows_of, surprise, told_apart
from triptych.report.run import Run, distinct
from triptych.report.sampling import checkpoint_name
from triptych.report.training import device, sampler_name, size, whole_time

NONE = "–"
ARROWS = {"lower": " ↓", "higher": " ↑", "unknown": ""}


def evaluation(run: Run, model: str, words: Language) -> list[Block]:
    """Return all evaluations of a run, in tables of comparable rows."""
    rows = rows_of(run, model)
    if not rows:
        return [Paragraph(words("no_evaluations"))]
    blocks: list[Block] = []
    seen: list[Row] = []
    for table in groups(rows):
        if blocks:
            alike = any(row.measured == table[0].measured for row in seen)
            blocks.append(Paragraph(words("other_weights" if alike else "other_measurement")))
        seen += table
        blocks += [_facts(table, words), figures_table(table, words)]
        blocks += _legend(table, words)
        blocks += _by_class(table, words)
        blocks += _verdict(table, words)
    return blocks


def comparison(runs: Sequence[tuple[str, Run]], words: Language) -> list[Block]:
    """Return the best row of each model, where two or more models were measured alike."""
    blocks: list[Block] = []
    for table in groups(row for name, run in runs for row in rows_of(run, name)):
        metric = headline(table)
        best: dict[str, Row] = {}
        for _, row, _ in ranked(table, metric) if metric else []:
            best.setdefault(row.model, row)
        if metric and len(best) > 1:
            inner = [best[name] for name, _ in runs if name in best]
            blocks.append(Paragraph(words("comparison", metric=metric_name(metric).label)))
            blocks.append(figures_table(inner, words, across_models=True))
    return blocks


def metric_label(metric: str, words: Language) -> str:
    """Return a metric's column title, with an arrow towards the better values."""
    name = metric_name(metric)
    if name.better == "real":
        return words("nearest_real", metric=name.label)
    return name.label + ARROWS[name.better]


def figure_text(figure: Figure) -> str:
    """Return `8.157 ± 0.021 (±0.207)`: the estimate, its standard error, its deviation over splits."""
    decimals = metric_name(figure.metric).decimals
    text = numbers.figure(figure.estimate, decimals)
    if figure.spread is not None:
        text += f" ± {numbers.figure(figure.spread, decimals)}"
    if figure.split_std is not None:
        text += f" (±{numbers.figure(figure.split_std, decimals)})"
    return text


def figures_table(rows: Sequence[Row], words: Language, across_models: bool = False) -> Table:
    """Return comparable rows as a table: a column per metric, the best of each set off, real images last."""
    metrics = metrics_of(rows)
    best = {metric: order[0][1] for metric in metrics if len(order := ranked(rows, metric)) > 1}
    described = [_description(row, rows, across_models, words) for row in rows]
    costs = [_costs(row, rows, words) if across_models else {} for row in rows]
    labels = [metric_label(metric, words) for metric in metrics]
    titles = [*described[0], *labels, *costs[0], words("evaluation_time")]
    lines: list[tuple[Cell, ...]] = []
    for row, description, cost in zip(rows, described, costs, strict=True):
        cells: list[Cell] = []
        for metric in metrics:
            figure = row.figure(metric)
            text = NONE if figure is None else figure_text(figure)
            cells.append(Strong(text) if best.get(metric) is row else text)
        lines.append((*description.values(), *cells, *cost.values(), _took(row, words)))
    if any(figure.real is not None for row in rows for figure in row.event.data.figures):
        filler = [words("real_images"), *[NONE] * (len(described[0]) - 1)]
        nothing = [NONE] * (len(costs[0]) + 1)
        lines.append((*filler, *(_real(rows, metric) for metric in metrics), *nothing))
    return Table(tuple(titles), tuple(lines))


def row_name(row: Row, words: Language) -> str:
    """Return a row in words: `epoch 350, lowest MSE, DDIM 50 steps, CFG 3`."""
    return words("row_name", checkpoint=_checkpoint(row, words), sampler=_settings(row, words))


def _checkpoint(row: Row, words: Language) -> str:
    return checkpoint_name(row.run, row.event.step, row.passport.epoch, row.passport.weights, words)


def _settings(row: Row, words: Language) -> str:
    sampler = sampler_name(row.passport.sampler, words)
    if not row.run.origin.conditional:
        return sampler
    return words("sample_caption", method=sampler, scale=numbers.plain(row.passport.guidance))


def _description(row: Row, rows: Sequence[Row], across_models: bool, words: Language) -> dict[str, str]:
    """Return what tells the row from the others, by column title; what all rows share is left out."""
    passport = row.passport
    cells = {words("model"): row.model} if across_models else {}
    cells[words("checkpoint")] = _checkpoint(row, words)
    cells[words("sampler")] = sampler_name(passport.sampler, words)
    if any(other.run.origin.conditional for other in rows):
        cells[words("sampling_cfg")] = numbers.plain(passport.guidance)
    if not across_models and row.run.mse(passport.weights):
        cells[words("held_out_mse")] = _mse(row, words)
    optional = {
        words("clip"): lambda p: words("yes") if p.clip else words("no"),
        words("seed"): lambda p: str(p.seed),
        words("precision"): lambda p: p.precision,
        words("hardware"): lambda p: device(p.device, words),
        **{
            key: lambda p, key=key: numbers.version(key, p.versions.get(key, NONE))
            for key in _version_keys(rows)
        },
    }
    for title, text in optional.items():
        if len({text(other.passport) for other in rows}) > 1:
            cells[title] = text(passport)
    return cells


def _costs(row: Row, rows: Sequence[Row], words: Language) -> dict[str, str]:
    """Return what a row's model costs, by column title: its size, its training, and an image of this row."""
    known = size(row.run)
    cells = {words("parameters"): known["parameters"]}
    if any(other.run.origin.flops for other in rows):
        cells[words("gflop")] = known.get("gflop", NONE)
    cells[words("training_time")] = NONE if row.run.history.imported else whole_time(row.run, words)
    seconds = row.event.data.generation_took / row.passport.count
    cells[words("sampling_time")] = f"{numbers.figure(seconds, 3)}s"
    return cells


def _version_keys(rows: Sequence[Row]) -> list[str]:
    return distinct(key for row in rows for key in row.passport.versions)


def _mse(row: Row, words: Language) -> str:
    rank = row.mse_rank
    if rank is None:
        return NONE
    errors = row.run.mse(row.passport.weights)
    mse = numbers.figure(errors[row.event.step], 5)
    return words("mse_rank", mse=mse, rank=rank, count=len(errors))


def _took(row: Row, words: Language) -> str:
    generation, measuring = row.event.data.generation_took, row.event.data.measuring_took
    return words(
        "evaluation_time_value",
        total=numbers.duration(generation + measuring),
        generation=numbers.duration(generation),
        measuring=numbers.duration(measuring),
    )


def _real(rows: Sequence[Row], metric: str) -> str:
    figures = [
        figure for row in rows if (figure := row.figure(metric)) is not None and figure.real is not None
    ]
    decimals = metric_name(metric).decimals
    return " / ".join(distinct(numbers.figure(figure.real or 0.0, decimals) for figure in figures)) or NONE


def _facts(rows: Sequence[Row], words: Language) -> Items:
    """Return what all rows of a table share."""
    passport = rows[0].passport
    used = words("comma").join(distinct(device(row.passport.device, words) for row in rows))
    precision = words("comma").join(distinct(row.passport.precision for row in rows))
    sizes = words("comma").join(distinct(numbers.count(row.event.data.batch_size) for row in rows))
    reference = passport.reference_digest[:DIGEST]
    size = numbers.count(passport.reference_count)
    beside = [words("held_out_set", digest=passport.held_out_digest[:DIGEST])]
    return Items(
        (
            words("sampling_hardware", device=used),
            words("sampling_precision", precision=precision),
            words("reference", name=passport.reference, count=size, digest=reference),
            *(beside if passport.held_out_digest else ()),
            *(words("extractor", name=n, digest=d[:DIGEST]) for n, d in sorted(passport.extractors.items())),
            words("measured", count=numbers.count(passport.count)),
            words("batch_size", size=sizes),
        )
    )


def _legend(rows: Sequence[Row], words: Language) -> list[Block]:
    """Return what the signs of the table mean, those of them that occur."""
    figures = [figure for row in rows for figure in row.event.data.figures]
    meanings = []
    if any(figure.spread is not None for figure in figures):
        meanings.append(words("spread_meaning"))
    if any(figure.split_std is not None for figure in figures):
        meanings.append(words("split_meaning"))
    return [Paragraph(" ".join(meanings))] if meanings else []


def _by_class(rows: Sequence[Row], words: Language) -> list[Block]:
    """Return the figures of the best row class by class, beside those of real images."""
    metric = headline(rows)
    row = ranked(rows, metric)[0][1] if metric else rows[-1]
    figures = [
        figure for figure in map(row.figure, metrics_of(rows)) if figure is not None and figure.per_class
    ]
    if not figures:
        return []
    titles, columns = [words("class")], []
    for figure in figures:
        decimals = metric_name(figure.metric).decimals
        titles.append(metric_label(figure.metric, words))
        columns.append([numbers.figure(value, decimals) for value in figure.per_class or ()])
        if figure.real_per_class:
            titles.append(words("of_real", metric=metric_name(figure.metric).label))
            columns.append([numbers.figure(value, decimals) for value in figure.real_per_class])
    count = max(len(column) for column in columns)
    names = row.run.origin.data.class_names
    labels = names if len(names) == count else tuple(str(i) for i in range(count))
    padded = [column + [NONE] * (count - len(column)) for column in columns]
    lines = tuple((label, *cells) for label, *cells in zip(labels, *padded, strict=True))
    return [Paragraph(words("per_class", row=row_name(row, words))), Table(tuple(titles), lines)]


def _verdict(rows: Sequence[Row], words: Language) -> list[Block]:
    """Return which row is best, and whether the lowest held-out error would have been a worse choice."""
    metric = headline(rows)
    order = ranked(rows, metric) if metric else []
    if metric is None or len(order) < 2:
        return []
    ties = sum(not told_apart(order[0], other) for other in order[1:])
    label, (_, best, best_figure) = metric_name(metric).label, order[0]
    text = words(
        "best_row_ties" if ties else "best_row",
        metric=label,
        row=row_name(best, words),
        value=figure_text(best_figure),
        ties=ties,
    )
    blocks: list[Block] = [Paragraph(text)]
    case = surprise(rows)
    if case is not None:
        better, lowest = case.better.figure(metric), case.lowest.figure(metric)
        note = words(
            "mse_note",
            settings=_settings(case.better, words),
            better=_checkpoint(case.better, words),
            lowest=words("epoch_n", epoch=numbers.plain(case.lowest.passport.epoch)),
            metric=label,
            value=figure_text(better) if better else NONE,
            other=figure_text(lowest) if lowest else NONE,
        )
        blocks.append(Note(note))
    return blocks
