"""What an evaluation looks like: figures against guidance and against cost, and class by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from triptych.report import numbers
from triptych.report.canvas import (
    COLOURS,
    QUIET,
    REAL,
    fit_scale,
    label_points,
    legend,
    panels,
    plain_ticks,
    quieten,
)
from triptych.report.class_bars import MOST_PANELS, by_class, draw_classes
from triptych.report.language import Language
from triptych.report.names import has_scale, metric_name, sampler_parts, scale_name
from triptych.report.row_tables import description, row_checkpoint, row_name
from triptych.report.rows import Row, headline, metrics_of, ranked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MOST_LABELLED = 6
"""Samplers in a picture of costs whose points have their steps beside them; of more, they hide the lines."""
COST_SPAN = 3.0
"""Between the best figure and the worst there, from which on the axis is logarithmic."""
MARKERS, DASHES = ("o", "s", "^", "D"), ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))
MOST_LINES = 6
"""Lines of one picture: those with the best figures."""
ENGLISH = Language("en")
"""Of the lettering: the fonts that come with matplotlib have no Chinese."""


@dataclass(frozen=True)
class Drawing:
    """A picture that can be drawn."""

    name: str
    """Of its file, without what it is of."""
    caption: str
    draw: Callable[[Canvas], None]


def drawings(rows: Sequence[Row], words: Language) -> list[Drawing]:
    """Return what can be drawn of the rows of one table, with captions in the language of the report."""
    metric = headline(rows)
    if metric is None:
        return []
    order = [row for _, row, figure in ranked(rows, metric) if math.isfinite(figure.estimate)]
    found = [_guidance(order, metric, words), _cost(order, metric, words), _classes(order, words)]
    return [drawing for drawing in found if drawing is not None]


def _guidance(order: Sequence[Row], metric: str, words: Language) -> Drawing | None:
    """Return figures against guidance scale; None where no checkpoint and sampler has two scales."""
    lines = [sorted(line, key=_scale) for line in _by_guide(order) if len({_scale(row) for row in line}) > 1]
    if not lines:
        return None
    shown = sorted(lines[:MOST_LINES], key=lambda line: _guide(line[-1]) != PLAIN)  # the plain one first
    metrics = [metric]
    if metric != "inception_score" and any(row.figure("inception_score") for line in shown for row in line):
        metrics.append("inception_score")
    caption = words("guidance_caption", metrics=_labels(metrics, words))
    if len(shown) < len(lines):
        caption = words("best_lines", caption=caption, shown=len(shown), count=len(lines))
    return Drawing("guidance", caption, partial(_draw_guidance, shown, metrics))


def _by_guide(order: Sequence[Row]) -> list[list[Row]]:
    """Return rows in groups that differ in the scale alone; that of scale 1 is in every one.

    Scales below 1 lie on the line of plain guidance only.
    """
    found = []
    for line in _alike(order, lambda row: (_checkpoint(row), row.passport.sampler, *_rest(row))):
        unguided = [row for row in line if _scale(row) == 1]
        below = [row for row in line if _scale(row) < 1]
        guided = _alike([row for row in line if _scale(row) > 1], _guide)
        groups = [[*group, *unguided, *(below if _guide(group[0]) == PLAIN else [])] for group in guided]
        plain = any(_guide(group[0]) == PLAIN for group in guided)
        found += groups if plain or (groups and not below) else [*groups, [*unguided, *below]]
    return found


def _scale(row: Row) -> float:
    """Return the guidance scale of a row; an unconditional model without guidance is what 1 is to others."""
    scale = row.passport.guidance
    return scale if has_scale(row.run.origin.conditional, scale) else 1.0


def _draw_guidance(lines: Sequence[Sequence[Row]], metrics: Sequence[str], canvas: Canvas) -> None:
    canvas.set_size_inches(9.6, 3.6)
    scales = sorted({_scale(row) for line in lines for row in line})
    names = _line_names(lines)
    for axes, metric in zip(panels(canvas, 1, len(metrics)), metrics, strict=True):
        for line, name, style in zip(lines, names, _styles(lines), strict=True):
            _draw_line(axes, line, metric, [_scale(row) for row in line], name, style)
        every = [row for line in lines for row in line]
        _draw_real(axes, every, metric)
        fit_scale(axes, [*_estimates(every, metric), *_reals(every, metric)])
        quieten(axes, metric_name(metric).label, "guidance scale")
        if len(scales) <= 10:
            axes.set_xticks(scales, [numbers.plain(scale) for scale in scales])
    legend(canvas)


def _cost(order: Sequence[Row], metric: str, words: Language) -> Drawing | None:
    """Return figures against cost, of the rows that differ from the best in nothing but the sampler.

    Of other rows where there is only one sampler beside the best; None where there is nowhere a second.
    """
    kinds = _alike(order, lambda row: (_checkpoint(row), row.passport.guidance, _guide(row), *_rest(row)))
    kinds = [[row for row in kind if row.event.data.network_calls] for kind in kinds]  # others have no cost
    kinds = [kind for kind in kinds if len({row.passport.sampler for row in kind}) > 1]
    if not kinds:
        return None
    best = kinds[0][0]
    settings = row_checkpoint(best, words)
    if has_scale(best.run.origin.conditional, best.passport.guidance):
        scale = scale_name(best.passport.guidance, best.passport.guide)
        settings = words("sample_caption", method=settings, scale=scale)
    caption = words("cost_caption", metrics=_labels([metric], words), settings=settings)
    return Drawing("cost", caption, partial(_draw_cost, kinds[0], metric))


def _draw_cost(rows: Sequence[Row], metric: str, canvas: Canvas) -> None:
    canvas.set_size_inches(9.6, 3.4)
    calls = "network calls per image"
    if rows[0].passport.guidance not in (0, 1):
        calls += " (a guided step counts two)"
    costs: list[tuple[Sequence[Row], str, Callable[[Row], float]]] = [
        (rows, calls, lambda row: row.event.data.network_calls)
    ]
    # Seconds say something only of the device that took them.
    timed = [row for row in rows if row.passport.device == rows[0].passport.device]
    if len(timed) > 1 and all(row.seconds_per_image > 0 for row in timed):
        where = rows[0].passport.device.name
        costs.append((timed, f"seconds per image, {where}", lambda row: row.seconds_per_image))
    names = dict.fromkeys(sampler_parts(row.passport.sampler)[0] for row in rows)
    styles = {  # the same in both panels, of which the second may lack some
        name: {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
            "ls": DASHES[i // len(COLOURS) % len(DASHES)],
        }
        for i, name in enumerate(names)
    }
    for axes, (shown, label, cost) in zip(panels(canvas, 1, len(costs)), costs, strict=True):
        axes.set_xscale("log")
        if len(alone := set(map(cost, shown))) == 1:  # an axis of one value has no ends of its own
            axes.set_xlim(min(alone) / 2, min(alone) * 2)
        points: list[tuple[float, float, str, str]] = []
        for line in _alike(shown, lambda row: sampler_parts(row.passport.sampler)[0]):
            line = sorted(line, key=cost)
            name, _ = sampler_parts(line[0].passport.sampler)
            style = styles[name]
            _draw_line(axes, line, metric, list(map(cost, line)), name, style)
            steps = [sampler_parts(row.passport.sampler)[1] for row in line]
            figures = _estimates(line, metric)
            points += zip(map(cost, line), figures, steps, [str(style["color"])] * len(line), strict=True)
        _draw_real(axes, shown, metric)
        plain_ticks(axes.xaxis, map(cost, shown))
        axes.margins(x=0.08, y=0.15)
        fit_scale(axes, [*_estimates(shown, metric), *_reals(shown, metric)], COST_SPAN)
        if len(names) <= MOST_LABELLED:
            label_points(axes, points)
        quieten(axes, metric_name(metric).label, label)
    legend(canvas)


def _classes(order: Sequence[Row], words: Language) -> Drawing | None:
    """Return figures of the best row class by class; None where it has none."""
    metrics = [metric for metric in metrics_of(order[:1]) if by_class(order[0], metric)][:MOST_PANELS]
    if not metrics:
        return None
    caption = words("classes_caption", metrics=_labels(metrics, words), row=row_name(order[0], words))
    return Drawing("classes", caption, partial(draw_classes, order[0], metrics))


def _draw_line(
    axes: Axes, rows: Sequence[Row], metric: str, x: Sequence[float], name: str, style: dict
) -> None:
    """Draw a metric of some rows with its standard errors, rows that lack it left out."""
    known = [(at, figure) for at, row in zip(x, rows, strict=True) if (figure := row.figure(metric))]
    errors = [math.nan if figure.spread is None else figure.spread for _, figure in known]
    axes.errorbar(
        [at for at, _ in known],
        [figure.estimate for _, figure in known],
        None if all(map(math.isnan, errors)) else errors,
        label=name or "generated",
        lw=1.4,
        ms=4,
        capsize=2,
        elinewidth=0.8,
        **style,
    )


def _draw_real(axes: Axes, rows: Iterable[Row], metric: str) -> None:
    """Draw what real images score as dashed lines: one, but where rows are set beside unlike real images."""
    for real in _reals(rows, metric):
        axes.axhline(real, color=QUIET, lw=1.0, ls="--", label=REAL)


def _reals(rows: Iterable[Row], metric: str) -> list[float]:
    figures = [figure for row in rows if (figure := row.figure(metric))]
    return list(dict.fromkeys(figure.real for figure in figures if figure.real is not None))


def _alike(rows: Iterable[Row], key: Callable[[Row], object]) -> list[list[Row]]:
    """Return rows in groups of one key, groups in the order of their first row."""
    found: dict[object, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return list(found.values())


def _checkpoint(row: Row) -> tuple:
    return row.event.step, row.passport.checkpoint, row.weights


PLAIN = ("cfg", "")


def _guide(row: Row) -> tuple:
    return row.passport.guide, row.passport.weak_digest


def _sampler(row: Row) -> tuple:
    return row.passport.sampler, *_guide(row), *_rest(row)


def _rest(row: Row) -> tuple:
    return row.passport.clip, row.passport.seed, row.passport.precision


def _styles(lines: Sequence[Sequence[Row]]) -> list[dict]:
    """Return how each line is drawn: a colour for each checkpoint and a dash for each way to sample.

    Where there is but one checkpoint, a colour for each line.
    """
    last = [line[-1] for line in lines]  # the first may be an unguided row that several lines share
    checkpoints = list(dict.fromkeys(map(_checkpoint, last)))
    samplers = list(dict.fromkeys(map(_sampler, last)))
    styles = []
    for i, row in enumerate(last):
        sampler = samplers.index(_sampler(row)) % len(MARKERS)
        colour = checkpoints.index(_checkpoint(row)) if len(checkpoints) > 1 else i
        styles.append({"color": COLOURS[colour], "marker": MARKERS[sampler], "ls": DASHES[sampler]})
    return styles


def _line_names(lines: Sequence[Sequence[Row]]) -> list[str]:
    """Return what tells lines apart, in English; nothing of a single one."""
    cells = description([line[0] for line in lines], ENGLISH)
    for told, line in zip(cells, lines, strict=True):
        told["guide"] = line[-1].passport.guide
    telling = [
        title
        for title in cells[0]
        if title != ENGLISH("sampling_cfg") and len({told[title] for told in cells}) > 1
    ]
    plain = {"guide", *(ENGLISH(key) for key in ("checkpoint", "weights", "sampler"))}
    return [
        ", ".join(told[title] if title in plain else f"{title.lower()} {told[title]}" for title in telling)
        for told in cells
    ]


def _estimates(rows: Iterable[Row], metric: str) -> list[float]:
    return [figure.estimate for row in rows if (figure := row.figure(metric))]


def _labels(metrics: Sequence[str], words: Language) -> str:
    return words("comma").join(words.term(metric_name(metric).label) for metric in metrics)
