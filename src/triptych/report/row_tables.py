"""Evaluated rows as tables: what tells each from the others, and its figures, the best of each set off."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from triptych.record.figures import Figure, Passport
from triptych.report import numbers
from triptych.report.document import Block, Cell, Note, Paragraph, Strong, Table
from triptych.report.language import Language
from triptych.report.names import has_scale, metric_name, scale_name
from triptych.report.rows import Row, compared, metrics_of, ranked, tied
from triptych.report.run import distinct
from triptych.report.sampling import checkpoint_name, of_weights
from triptych.report.training import device, sampler_name, weights_name, whole_time
from triptych.report.training_tables import size

NONE = "–"
ARROWS = {"lower": " ↓", "higher": " ↑", "unknown": ""}
TIE = " ≈"
"""Behind a figure that is not distinguishable from the best of its column."""
SHORT = 8
"""Characters of a sha256 in a column."""
MOST_METRICS = 7
"""Columns of figures in one table; more are put into several, by family."""


def unlike_rows(rows: Sequence[Row], words: Language) -> list[Block]:
    """Return rows that were not measured alike in one table, which says so, and what they differ in.

    No figure is set off as the best: nobody knows which is.
    """
    lines = figures_table(rows, metrics_of(rows), words, across_models=True, costs=False, alike=False)
    return [Note(words("unlike_rows")), lines]


def figures_tables(rows: Sequence[Row], words: Language, across_models: bool = False) -> list[Block]:
    """Return comparable rows as a table, or as one for each family of metrics where there are many."""
    metrics = metrics_of(rows)
    if len(metrics) <= MOST_METRICS:
        return [figures_table(rows, metrics, words, across_models)]
    blocks: list[Block] = []
    for family, title in (("quality", ""), ("overlap", "overlap"), ("diversity", "diversity")):
        chosen = [metric for metric in metrics if metric_name(metric).family == family]
        having = [row for row in rows if not title or any(map(row.figure, chosen))]
        if chosen and having:
            blocks += [Paragraph(words(title))] if title else []
            blocks.append(figures_table(having, chosen, words, across_models, costs=not title))
    return blocks


def figures_table(
    rows: Sequence[Row],
    metrics: Sequence[str],
    words: Language,
    across_models: bool,
    costs: bool = True,
    alike: bool = True,
) -> Table:
    """Return rows as a table: a column per metric, real images last.

    Args:
        rows: in the order in which they are to appear.
        metrics: one column each.
        words: the language.
        across_models: whether to name the model of each row and what it costs.
        costs: whether to say how long each row took.
        alike: whether they were measured alike, so that one is the best and real images are the same.
    """
    described = description(rows, words, across_models, mse=costs and not across_models, alike=alike)
    spent = [_costs(row, rows, words, across_models) if costs else {} for row in rows]
    columns = [_column(rows, metric, alike) for metric in metrics]
    titles = (*described[0], *(metric_label(metric, words) for metric in metrics), *spent[0])
    lines: list[tuple[Cell, ...]] = [
        (*told.values(), *cells, *cost.values())
        for told, cells, cost in zip(described, zip(*columns, strict=True), spent, strict=True)
    ]
    if alike and any(figure.real is not None for row in rows for figure in row.figures.values()):
        filler = [_real_images(rows, words), *[NONE] * (len(described[0]) - 1)]
        lines.append((*filler, *(_real(rows, metric, words) for metric in metrics), *[NONE] * len(spent[0])))
    return Table(titles, tuple(lines))


def real_side(rows: Sequence[Row]) -> str:
    """Return name and split of the real images beside rows of one table; empty in older records."""
    besides = (passport.beside for row in rows for passport in row.passports)
    return " / ".join(distinct(beside for beside in besides if beside))


def fewer(figure: Figure) -> bool:
    """Whether the real figure is of another number of images than the generated one, fewer as a rule."""
    return figure.real is not None and figure.real_n is not None and figure.n not in (0, figure.real_n)


def metric_label(metric: str, words: Language) -> str:
    """Return a metric's column title, with an arrow towards the better values."""
    name = metric_name(metric)
    label = words.term(name.label)
    return words("nearest_real", metric=label) if name.better == "real" else label + ARROWS[name.better]


def figure_text(figure: Figure) -> str:
    """Return `8.157 ± 0.021 (±0.207)`: the estimate, its standard error, its deviation over splits."""
    decimals = metric_name(figure.metric).decimals
    text = numbers.uncertain(figure.estimate, figure.spread, decimals)
    if figure.split_std is not None:
        text += f" (±{numbers.figure(figure.split_std, decimals)})"
    return text


def row_name(row: Row, words: Language) -> str:
    """Return a row in words: `epoch 350, lowest MSE, DDIM 50 steps, CFG 3`."""
    parts = row_checkpoint(row, words), row_settings(row, words)
    return words("comma").join(part for part in parts if part)


def row_checkpoint(row: Row, words: Language) -> str:
    """Return a row's checkpoint in words, with the weights that drew it where not the usual average."""
    name = _checkpoint(row, words)
    return name if row.run.history.imported else of_weights(name, row.weights, words)


def row_settings(row: Row, words: Language) -> str:
    """Return how a row's images were drawn, in words: `DDIM 50 steps, CFG 3`."""
    sampler = sampler_name(row.passport.sampler, words)
    if not has_scale(row.run.origin.conditional, row.passport.guidance):
        return sampler
    if not sampler:
        return words("scale_alone", scale=_scale(row))
    return words("sample_caption", method=sampler, scale=_scale(row))


def _scale(row: Row) -> str:
    return scale_name(row.passport.guidance, row.passport.guide)


def description(
    rows: Sequence[Row],
    words: Language,
    across_models: bool = False,
    mse: bool = False,
    alike: bool = True,
) -> list[dict[str, str]]:
    """Return what tells each row from the others, by column title; what all share is left out.

    Args:
        rows: those of one table.
        words: the language.
        across_models: whether to name the model.
        mse: whether to say the held-out error of the checkpoint, where any has one.
        alike: whether they were measured alike; otherwise what they differ in is told too.
    """
    mixed = len({row.weights for row in rows}) > 1
    columns: dict[str, Callable[[Row], str]] = {}
    if across_models:
        columns[words("model")] = lambda row: row.model
    columns[words("checkpoint")] = lambda row: (_checkpoint if mixed else row_checkpoint)(row, words)
    if mixed:
        columns[words("weights")] = lambda row: weights_name(row.weights, words)
    if any(row.passport.sampler for row in rows):
        columns[words("sampler")] = lambda row: sampler_name(row.passport.sampler, words)
    if any(has_scale(row.run.origin.conditional, row.passport.guidance) for row in rows):
        columns[words("sampling_cfg")] = _scale
    if mse and any(row.run.mse(row.passport.weights) for row in rows):
        columns[words("held_out_mse")] = lambda row: _mse(row, words)
    told_of = _passport_columns(rows, words)
    for title, text in (told_of if alike else _measurement_columns(words) | told_of).items():
        told = [" / ".join(distinct(map(text, row.passports))) for row in rows]
        if len(set(told)) > 1:
            columns[title] = lambda row, text=text: " / ".join(distinct(map(text, row.passports)))
    return [{title: text(row) for title, text in columns.items()} for row in rows]


def _passport_columns(rows: Sequence[Row], words: Language) -> dict[str, Callable[[Passport], str]]:
    """Return what a table says of passports where its rows differ in it, by column title."""
    versions = distinct(key for row in rows for passport in row.passports for key in passport.versions)
    return {
        words("clip"): lambda p: words("yes") if p.clip else words("no"),
        words("seed"): lambda p: str(p.seed),
        words("precision"): lambda p: p.precision,
        words("hardware"): lambda p: device(p.device, words),
        **{key: lambda p, key=key: numbers.version(key, p.versions.get(key, NONE)) for key in versions},
    }


def _measurement_columns(words: Language) -> dict[str, Callable[[Passport], str]]:
    """Return what is said of how rows were measured that were not measured alike, by column title."""
    return {
        words("number_of_images"): lambda p: numbers.count(p.count),
        words("reference_title"): lambda p: f"{p.reference} ({p.reference_digest[:SHORT]})",
        words("beside_title"): lambda p: f"{p.beside} ({p.held_out_digest[:SHORT]})".strip(),
        words("networks"): lambda p: ", ".join(f"{n} {d[:SHORT]}" for n, d in sorted(p.extractors.items())),
    }


def _checkpoint(row: Row, words: Language) -> str:
    return checkpoint_name(row.run, row.event.step, row.passport, words)


def _column(rows: Sequence[Row], metric: str, alike: bool) -> list[Cell]:
    """Return the figures of a metric, the best set off, and those marked that cannot be told from it.

    The best is set off only where it is told from every other; else it is marked as they are.
    """
    order = ranked(rows, metric) if alike else []
    best = order[0][1] if len(order) > 1 else None
    others = {id(row): compared(row, best, metric) for _, row, _ in order[1:] if best is not None}
    like_best = {row for row, comparison in others.items() if tied(comparison, len(order))}
    known = all(found is not None and found.error is not None for found in others.values())
    cells: list[Cell] = []
    for row in rows:
        figure = row.figure(metric)
        text = NONE if figure is None else figure_text(figure)
        if row is best and known and not like_best:
            cells.append(Strong(text))
        else:
            shared = id(row) in like_best or (row is best and like_best)
            cells.append(text + TIE if shared else text)
    return cells


def _costs(row: Row, rows: Sequence[Row], words: Language, across_models: bool) -> dict[str, str]:
    """Return what a row took, by column title; across models before it the size, training, and an image."""
    cells: dict[str, str] = {}
    if across_models:
        known = size(row.run)
        cells[words("parameters")] = known["parameters"]
        if any(other.run.origin.flops for other in rows):
            cells[words("gflop")] = known.get("gflop", NONE)
        cells[words("training_time")] = NONE if row.run.history.imported else whole_time(row.run, words)
        drawing = row.seconds_per_image
        cells[words("sampling_time")] = NONE if math.isnan(drawing) else f"{numbers.figure(drawing, 3)}s"
    if any(other.event.data.network_calls for other in rows):
        cells[words("network_calls")] = numbers.count(row.event.data.network_calls)
    generation = sum(event.data.generation_took for event in row.events)
    if all(event.data.measuring_took is None for other in rows for event in other.events):
        return cells | {words("time"): NONE if math.isnan(generation) else numbers.duration(generation)}
    measuring = sum(event.data.measuring_took or 0.0 for event in row.events)
    cells[words("evaluation_time")] = words(
        "evaluation_time_value",
        total=numbers.duration(generation + measuring),
        generation=numbers.duration(generation),
        measuring=numbers.duration(measuring),
    )
    return cells


def _mse(row: Row, words: Language) -> str:
    rank = row.mse_rank
    if rank is None:
        return NONE
    errors = row.run.mse(row.passport.weights)
    mse = numbers.figure(errors[row.event.step], 5)
    return words("mse_rank", mse=mse, rank=rank, count=len(errors))


def _real_images(rows: Sequence[Row], words: Language) -> str:
    name = real_side(rows)
    return words("real_images_of", name=name) if name else words("real_images")


def _real(rows: Sequence[Row], metric: str, words: Language) -> str:
    figures = [figure for row in rows if (figure := row.figure(metric)) and figure.real is not None]
    return " / ".join(distinct(_real_text(figure, words) for figure in figures)) or NONE


def _real_text(figure: Figure, words: Language) -> str:
    """Return what real images score, with their number where it is not that of the generated ones."""
    assert figure.real is not None, "only figures that have a real one beside them"
    text = numbers.figure(figure.real, metric_name(figure.metric).decimals)
    return words("of_fewer", figure=text, count=numbers.count(figure.real_n or 0)) if fewer(figure) else text
