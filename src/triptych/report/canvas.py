"""The look of a report's pictures: quiet axes, one legend, plain numbers."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

DPI = 110
INK, QUIET, GRID = "#333333", "#6b6b6b", "#e6e6e6"
COLOURS = ("#4c78a8", "#c8553d", "#4f7c62", "#b08a3e", "#7a5c99", "#3f9a9a", "#a3586d", "#6b6b6b")
REAL = "real images"
"""Label of what they score."""
NARROWEST = 0.1
"""Least part of an axis between two numbers on it."""
WIDE, HIGH = 26, 13
"""Pixels that a number beside a point takes."""
SPAN = 12
"""Ratio of the largest to the smallest figure from which on they are drawn on a logarithmic axis."""


def as_png(draw: Callable[[Figure], None]) -> bytes:
    """Return what is drawn on a canvas, as a PNG file; ImportError without matplotlib.

    Without metadata, so that the same figures give the same bytes.
    """
    from matplotlib.figure import Figure

    figure, file = Figure(dpi=DPI, layout="constrained"), io.BytesIO()
    draw(figure)
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def quieten(axes: Axes, title: str, x_label: str) -> None:
    """Give axes a title and a label, and take from them what distracts."""
    axes.set_title(title, fontsize=10, loc="left", color=INK)
    axes.set_xlabel(x_label, fontsize=9, color=QUIET)
    axes.tick_params(which="both", labelsize=8, colors=QUIET)
    axes.grid(axis="y", which="both", lw=0.5, color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")


def panels(canvas: Figure, down: int, across: int) -> list[Axes]:
    """Return axes in rows and columns, row by row."""
    return list(canvas.subplots(down, across, squeeze=False).flat)


HANDLE, LETTER, LINE = 0.6, 0.075, 0.2
"""Inches of a legend: of an entry beside its text, about those of a letter, and the height of a line."""


def legend(canvas: Figure) -> None:
    """Put one legend under all panels, what stands for real images at its end."""
    known: dict[str, Any] = {}
    for axes in canvas.axes:
        known |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    # Of a line with error bars the line alone.
    known = {label: getattr(handle, "lines", (handle,))[0] for label, handle in known.items()}
    labels = sorted(known, key=lambda label: label == REAL)
    widest = HANDLE + LETTER * max(map(len, labels), default=0)
    columns = max(1, min(len(known), 3, int(canvas.get_figwidth() / widest)))
    # The panels keep the room that they have beside a legend of one line.
    canvas.set_figheight(canvas.get_figheight() + LINE * (math.ceil(len(known) / columns) - 1))
    canvas.legend(
        [known[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
    )


def fit_scale(axes: Axes, values: Iterable[float], span: float = SPAN) -> None:
    """Use a logarithmic axis where values span more than `span`, by default an order of magnitude."""
    known = sorted(values)
    if known and known[0] > 0 and known[-1] > span * known[0]:
        axes.set_yscale("log")
        for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            which(lambda value, _: f"{value:g}")


def plain_ticks(axis: Axis, values: Iterable[float]) -> None:
    """Mark the values themselves on a logarithmic axis, but those that leave no room for their numbers."""
    known = sorted(set(values))
    texts = {value: f"{value:,.0f}" if value == int(value) else f"{value:.2g}" for value in known}
    kept: list[float] = []
    for value in known:
        room = (known[-1] / known[0]) ** (NARROWEST * max(1.0, len(texts[value]) / 3))
        if not kept or value > room * kept[-1]:
            kept.append(value)
    axis.set_ticks(kept, [texts[value] for value in kept])
    axis.set_ticks([], minor=True)


def label_points(axes: Axes, points: Iterable[tuple[float, float, str, str]]) -> None:
    """Write beside points, each (x, y, text, colour): above, or below if that is taken, or else nowhere.

    For axes whose scales are settled.
    """
    axes.autoscale_view()
    taken: list[tuple[float, float]] = []
    for x, y, text, colour in points:
        right, up = axes.transData.transform((x, y))
        for shift in (5, -12):
            place = (right, up + shift)
            if all(abs(place[0] - u) > WIDE or abs(place[1] - v) > HIGH for u, v in taken):
                taken.append(place)
                axes.annotate(
                    text,
                    (x, y),
                    xytext=(5, shift),
                    textcoords="offset pixels",
                    fontsize=8,
                    color=colour,
                )
                break
