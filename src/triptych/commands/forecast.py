"""What is left of a training and what it will cost, told once its first steps were measured."""

from __future__ import annotations

import resource
import sys

import torch

from triptych.devices import synchronize
from triptych.training.disk import size
from triptych.training.loop import Training

SKIPPED = 3
"""Steps that are not measured: they find memory and kernels for the first time."""

MEASURED = 20
"""Steps that are."""

WORTH_TELLING = 60.0
"""Seconds to the end from which on anything is told unasked."""


class Forecast:
    """Watches the first steps of a training.

    Args:
        training: what is watched.
        price: of an hour of the machine, in any currency, which cost is told in, however little it is; None:
            nothing is said of it.
    """

    def __init__(self, training: Training, price: float | None = None):
        self.training = training
        self.price = price
        self._first = training.state.step + SKIPPED
        self._since: float | None = None
        self._stopwatch = training.stopwatch
        self._told = False

    def on_step(self, step: int) -> str | None:
        """Return what to tell after `step` steps, once; otherwise None."""
        if self._told:
            return None
        if self.training.stopwatch is not self._stopwatch:  # training went back to a checkpoint
            self._stopwatch, self._since = self.training.stopwatch, None
            self._first = step + SKIPPED
        if step == self._first:
            synchronize(self.training.device)
            self._since = self.training.stopwatch.training
        if self._since is None or step != self._first + MEASURED:
            return None
        self._told = True
        synchronize(self.training.device)
        each = (self.training.stopwatch.training - self._since) / MEASURED
        seconds = each * (self.training.clock.total_steps - step)
        if seconds < WORTH_TELLING and self.price is None:
            return None
        told = [
            f"{spoken(each)} a step: {spoken(seconds)} to the end, previews and checkpoints aside",
            f"peak memory {size(peak_memory(self.training.device))}",
        ]
        if self.price is not None:
            told.append(f"cost {amount(seconds / 3600 * self.price)} at {self.price:g} an hour")
        return "; ".join(told)


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that this process has held so far: on the GPU, or in all."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def amount(cost: float) -> str:
    """Return a sum of money as one counts it, in hundredths of whatever it is in."""
    return f"{cost:.2f}" if cost >= 0.01 or cost == 0 else "less than 0.01"


def spoken(seconds: float) -> str:
    """Return a span of time as roughly as one plans by it: `0.35 s`, `4 min`, `2 h 10 min`, `16 d 4 h`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"
