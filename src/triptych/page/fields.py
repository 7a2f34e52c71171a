"""What the page shows of a run, as values of its fields: tables, pictures, texts."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from triptych.page.glance import Glance
from triptych.page.shelf import Shelf
from triptych.record.events import Previewed
from triptych.report import numbers
from triptych.report.canvas import as_png
from triptych.report.curves import draw_curves
from triptych.report.document import Block, Paragraph, Picture, Pictures
from triptych.report.evaluation import legend
from triptych.report.html import Pixels, fragment
from triptych.report.language import Language
from triptych.report.names import has_scale, metric_name, scale_name
from triptych.report.plots import drawings
from triptych.report.provenance import provenance
from triptych.report.row_tables import figures_tables, metric_label, row_checkpoint
from triptych.report.rows import Row, groups, metrics_of
from triptych.report.run import Run
from triptych.report.sampling import sampling_gifs, sampling_pictures
from triptych.report.training import sampler_name
from triptych.report.training_tables import import_table, training_table
from triptych.report.verdicts import verdicts

WIDTH = 860
"""Pixels of pictures of evaluations."""
NAME = 0
"""Column of the list that holds the name of a run."""


Kind = Literal["str", "number"]


def list_columns(glances: Sequence[Glance], words: Language) -> dict[str, Kind]:
    """Return the columns of the list of runs, by title: of what kind each is, for sorting."""
    texts, figures = ["run", "model", "data", "state"], ["epochs", "planned", "loss", "held_out_mse"]
    of_runs: dict[str, Kind] = {words(key): "str" for key in texts}
    in_training: dict[str, Kind] = {words(key): "number" for key in figures}
    evaluated: dict[str, Kind] = {words("best_of", metric=words.term(m)): "number" for m in _metrics(glances)}
    return of_runs | in_training | evaluated | {words("changed_at"): "str"}


def list_rows(glances: Sequence[Glance], words: Language) -> list[list[Any]]:
    """Return the list of runs, a row each."""
    metrics = _metrics(glances)
    return [
        [
            one.name,
            one.model,
            one.data,
            words(f"state_{one.state}", fault=one.fault),
            known(one.epochs, 2),
            known(one.planned, 2),
            known(one.loss, 5),
            known(one.lowest_mse, 5),
            *(known(one.figure, 4) if one.metric == metric else None for metric in metrics),
            ""
            if math.isnan(one.changed)
            else numbers.moment(one.changed).rpartition(":")[0],  # to the minute
        ]
        for one in glances
    ]


def _metrics(glances: Sequence[Glance]) -> list[str]:
    """Return the metrics that runs are ranked by: figures of several are not to be sorted together."""
    return sorted({one.metric for one in glances} - {""}, key=str.casefold)


def known(value: float, decimals: int) -> float | None:
    """Return a number as a table sorts it; None where there is none."""
    return None if math.isnan(value) else round(value, decimals)


def facts(run: Run, words: Language) -> str:
    """Return how a run was trained, as HTML."""
    return as_html([import_table(run, words) if run.history.imported else training_table(run, words)], words)


def record(run: Run, words: Language, folder: Path, *, live: bool) -> str:
    """Return versions, attempts and the next command of a run, as HTML.

    Args:
        run: the run.
        words: the language.
        folder: where it lies for whoever types the command.
        live: whether it is in training, so that there is nothing to be typed.
    """
    return as_html(provenance(replace(run, folder=folder.as_posix()), words, live=live), words)


def curves(run: Run) -> Image.Image | None:
    """Return the curves of a run; None where there are none."""
    if run.history.last_progress is None:
        return None
    return Image.open(io.BytesIO(as_png(lambda canvas: draw_curves(run, canvas))))


def previews(run: Run, shelf: Shelf) -> list[Previewed]:
    """Return what was drawn in training and can be shown, the earliest first."""
    drawn_ones = [event.data for event in run.history.of_kind(Previewed)]
    return [one for one in drawn_ones if shelf.has_picture(run.picture(one.picture))]


def preview(run: Run, shelf: Shelf, number: int, words: Language) -> tuple[Image.Image | None, str]:
    """Return the picture of a preview, counted from 1, and what stands above it."""
    found = previews(run, shelf)
    if not found:
        return None, escape(words("no_previews_yet"))
    one = found[min(max(1, int(number)), len(found)) - 1]
    sampler = sampler_name(one.sampler, words)
    label = words("preview_label", epoch=numbers.plain(one.epoch), sampler=sampler)
    return opened(shelf, run.picture(one.picture)), escape(label)


def opened(shelf: Shelf, path: str) -> Image.Image | None:
    """Return a picture of the shelf; None where there is none."""
    data = shelf.picture(path)
    if data is None:
        return None
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
        return picture
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def evaluation_titles(rows: Sequence[Row], words: Language) -> list[str]:
    """Return the columns of the evaluated rows of a run."""
    keys = ["checkpoint", "sampler", "sampling_cfg", "number_of_images"]
    tables = [words("set")] if len(groups(rows)) > 1 else []
    return [*tables, *map(words, keys), *(metric_label(metric, words) for metric in metrics_of(rows))]


def evaluation_rows(rows: Sequence[Row], words: Language) -> list[list[Any]]:
    """Return the evaluated rows of a run, their figures as numbers that a table sorts."""
    tables, metrics = groups(rows), metrics_of(rows)
    lines = []
    for number, table in enumerate(tables, start=1):
        for row in table:
            p = row.passport
            scaled = has_scale(row.run.origin.conditional, p.guidance)
            plain = scale_name(p.guidance, p.guide) if scaled else ""
            cells: list[Any] = [number] if len(tables) > 1 else []
            cells += [row_checkpoint(row, words), sampler_name(p.sampler, words), plain, p.count]
            figures = [row.figure(metric) for metric in metrics]
            cells += [
                None if figure is None else known(figure.estimate, metric_name(figure.metric).decimals)
                for figure in figures
            ]
            lines.append(cells)
    return lines


def evaluation_kinds(rows: Sequence[Row]) -> list[Kind]:
    """Return of what kind each column of the evaluated rows is, for sorting."""
    texts: list[Kind] = ["str", "str", "str"]
    figures: list[Kind] = ["number" for _ in metrics_of(rows)]
    tables: list[Kind] = ["number" for _ in groups(rows)[1:2]]
    return [*tables, *texts, "number", *figures]


def evaluation_pictures(rows: Sequence[Row], words: Language) -> str:
    """Return what can be drawn of the evaluated rows, with captions, as HTML; empty if nothing can."""
    blocks: list[Block] = []
    files: dict[str, bytes] = {}
    for one in (one for table in groups(rows) for one in drawings(table, words)):
        path = str(len(files))
        files[path] = as_png(one.draw)
        blocks += [Paragraph(one.caption), Pictures((Picture(path, one.caption),), WIDTH)]
    return as_html(blocks, words, files.get) if blocks else ""


def evaluation_details(rows: Sequence[Row], words: Language) -> str:
    """Return the evaluated rows as the report has them, with errors and verdicts, as HTML."""
    blocks = [
        block
        for table in groups(rows)
        for block in (*figures_tables(table, words), *legend(table, words), *verdicts(table, words))
    ]
    return as_html(blocks, words) if blocks else ""


def sample_pictures(run: Run, shelf: Shelf, words: Language) -> str:
    """Return the grids and GIFs that were drawn from a run, as HTML; empty where there are none."""
    blocks = [*sampling_pictures(run, words), *sampling_gifs(run, words)]
    return as_html(blocks, words, shelf.picture) if blocks else ""


def as_html(blocks: Sequence[Block], words: Language, pixels: Pixels = lambda path: None) -> str:
    """Return blocks of a report as HTML for the page."""
    return f'<div class="triptych">{fragment(blocks, words, pixels)}</div>'
