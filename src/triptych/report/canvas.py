"""The look of a report's pictures: quiet axes, one legend, plain numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#333333", "#6b6b6b", "#e6e6e6"
COLOURS = ("#4c78a8", "#c8553d", "#4f7c62", "#b08a3e", "#7a5c99", "#3f9a9a", "#a3586d", "#6b6b6b")
REAL = "real images"
"""Label of what they score."""
SPAN = 12
"""Ratio of the largest to the smallest figure from which on they are drawn on a logarithmic axis."""


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


def legend(canvas: Figure) -> None:
    """Put one legend under all panels, what stands for real images at its end."""
    known: dict[str, Any] = {}
    for axes in canvas.axes:
        known |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    # Of a line with error bars the line alone.
    known = {label: getattr(handle, "lines", (handle,))[0] for label, handle in known.items()}
    labels = sorted(known, key=lambda label: label == REAL)
    canvas.legend(
        [known[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=min(len(known), 3),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
    )


def fit_scale(axes: Axes, values: Iterable[float]) -> None:
    """Use a logarithmic axis where values span more than an order of magnitude."""
    known = sorted(values)
    if known and known[0] > 0 and known[-1] > SPAN * known[0]:
        axes.set_yscale("log")
        for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            which(lambda value, _: f"{value:g}")


def plain_ticks(axis: Axis, values: Iterable[float]) -> None:
    """Mark the values themselves on a logarithmic axis, but those that are too near to the one before."""
    kept: list[float] = []
    for value in sorted(set(values)):
        if not kept or value > 1.3 * kept[-1]:
            kept.append(value)
    axis.set_ticks(kept, [f"{value:.3g}" for value in kept])
    axis.set_ticks([], minor=True)
