"""Figures class by class as bars, beside those of real images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from triptych.record.lettering import class_labels
from triptych.report.canvas import COLOURS, REAL, legend, panels, quieten
from triptych.report.names import metric_name
from triptych.report.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#c9c9c9"
MOST_PANELS = 4
MOST_LABELS = 30
"""Classes that are named under their bars; of more the numbers do."""
TWO_ABREAST = 12
"""Classes up to which two panels find room beside each other."""
LETTERS = 90
"""In the names of classes across a picture, beyond which they stand aslant."""


def by_class(row: Row, metric: str) -> tuple[float, ...]:
    """Return a row's figures of each class; none where the metric has none."""
    figure = row.figure(metric)
    return (figure.per_class if figure else None) or ()


def draw_classes(row: Row, metrics: Sequence[str], canvas: Figure) -> None:
    """Draw a panel of bars for each of the metrics, which the row has class by class."""
    count = max(len(by_class(row, metric)) for metric in metrics)
    across = 2 if count <= TWO_ABREAST and len(metrics) > 1 else 1
    down = math.ceil(len(metrics) / across)
    canvas.set_size_inches(9.6, 0.4 + 2.6 * down)
    named = row.run.origin.data.class_names
    labels = class_labels(named) if len(named) == count else [str(i) for i in range(count)]
    every = panels(canvas, down, across)
    for axes, metric in zip(every, metrics, strict=False):
        _draw_bars(axes, row, metric)
        axes.margins(x=0.02)
        quieten(axes, metric_name(metric).label, "")
        if count <= MOST_LABELS:
            aslant = sum(map(len, labels)) > LETTERS // across
            axes.set_xticks(range(count), labels, parse_math=False)
            if aslant:
                axes.tick_params("x", rotation=35, rotation_mode="xtick")
    for axes in every[len(metrics) :]:
        axes.remove()
    legend(canvas)


def _draw_bars(axes: Axes, row: Row, metric: str) -> None:
    figure = row.figure(metric)
    generated, real = by_class(row, metric), (figure.real_per_class if figure else None) or ()
    width, shift = (0.4, 0.2) if real else (0.7, 0.0)
    axes.bar(
        [i - shift for i in range(len(generated))], generated, width, color=COLOURS[0], label="generated"
    )
    if real:
        axes.bar([i + shift for i in range(len(real))], real, width, color=GREY, label=REAL)
