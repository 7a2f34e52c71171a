"""Curves of a run: loss and held-out error over epochs, and the learning rate beside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from triptych.record.events import HeldOut, Progress
from triptych.record.history import lowest_error
from triptych.report.numbers import scientific
from triptych.report.run import Run

LOSS, ERROR, RATE, QUIET = "#7d9cc0", "#c8553d", "#4f7c62", "#6b6b6b"


def draw_curves(run: Run, path: Path) -> bool:
    """Draw the curves of a run into `path`; False where matplotlib (extra `plots`) is not installed.

    Lettering is English in every language: the fonts that come along have no other.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9.6, 3.2), dpi=110, layout="constrained")
    errors, rates = figure.subplots(1, 2, width_ratios=[2, 1])
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
        _quieten(axes, title)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    # Without metadata, so that the same record draws the same bytes.
    figure.savefig(aside, format="png", metadata={"Software": None})
    os.replace(aside, path)
    return True


def _draw_held_out(axes: Any, run: Run) -> None:
    held_out = run.history.of_kind(HeldOut)
    if not held_out:
        return
    epochs, errors = [event.data.epoch for event in held_out], [event.data.mse for event in held_out]
    axes.plot(epochs, errors, color=ERROR, lw=1.4, marker="o", ms=3, label="held-out MSE (EMA)")
    slower = [(event.data.epoch, event.data.long) for event in held_out if event.data.long is not None]
    if slower:
        style = {"color": ERROR, "lw": 1.0, "ls": "--", "alpha": 0.7}
        axes.plot(*zip(*slower, strict=True), **style, label="held-out MSE (slower EMA)")
    best = run.history.best_held_out
    if best is not None:
        error, _ = lowest_error(best.data)
        label = f"lowest: {error:.5f}, epoch {best.data.epoch:g}"
        axes.plot([best.data.epoch], [error], "o", ms=9, mfc="none", mec=ERROR, mew=1.4, label=label)


def _quieten(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", color="#333333")
    axes.set_xlabel("epoch", fontsize=9, color=QUIET)
    axes.tick_params(which="both", labelsize=8, colors=QUIET)
    axes.grid(axis="y", which="both", lw=0.5, color="#e6e6e6")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")
