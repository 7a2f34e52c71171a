"""Curves of a run: loss and held-out error over epochs, and the learning rate beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.record.events import HeldOut, Progress
from triptych.record.history import lowest_error
from triptych.report.canvas import QUIET, quieten
from triptych.report.numbers import scientific
from triptych.report.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS, ERROR, RATE = "#7d9cc0", "#c8553d", "#4f7c62"


def draw_curves(run: Run, canvas: Figure) -> None:
    """Draw the curves of a run."""
    canvas.set_size_inches(9.6, 3.2)
    errors, rates = canvas.subplots(1, 2, width_ratios=[2, 1])
    progress = run.history.of_kind(Progress)
    epochs = [event.data.epoch for event in progress]
    errors.plot(epochs, [event.data.loss for event in progress], color=LOSS, lw=1.2, label="training loss")
    rates.plot(epochs, [event.data.learning_rate for event in progress], color=RATE, lw=1.4)
    _draw_held_out(errors, run)
    errors.set_yscale("log")
    for which in (errors.yaxis.set_major_formatter, errors.yaxis.set_minor_formatter):
        which(lambda value, _: f"{value:g}")
    rates.yaxis.set_major_formatter(lambda value, _: scientific(value))
    errors.legend(frameon=False, fontsize=8, labelcolor=QUIET)
    rates.set_ylim(bottom=0)
    for axes, title in ((errors, "loss and held-out MSE"), (rates, "learning rate")):
        quieten(axes, title, "epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)


def _draw_held_out(axes: Axes, run: Run) -> None:
    held_out = run.history.of_kind(HeldOut)
    if not held_out:
        return
    epochs, errors = [event.data.epoch for event in held_out], [event.data.mse for event in held_out]
    axes.plot(epochs, errors, color=ERROR, lw=1.4, marker="o", ms=3, label="held-out MSE (EMA)")
    slower = [(event.data.epoch, event.data.long) for event in held_out if event.data.long is not None]
    if slower:
        at, lower = zip(*slower, strict=True)
        axes.plot(at, lower, color=ERROR, lw=1.0, ls="--", alpha=0.7, label="held-out MSE (slower EMA)")
    best = run.history.best_held_out
    if best is not None:
        error, _ = lowest_error(best.data)
        label = f"lowest: {error:.5f}, epoch {best.data.epoch:g}"
        axes.plot([best.data.epoch], [error], "o", ms=9, mfc="none", mec=ERROR, mew=1.4, label=label)
