"""Where the seconds of an attempt go, and how much energy it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from triptych.distributed import Ranks
from triptych.energy import energy_meter
from triptych.record.events import Times


class Stopwatch:
    """Seconds since it was made, split into training and what interrupts it.

    Args:
        device: whose energy is counted, where it tells.
    """

    def __init__(self, device: torch.device) -> None:
        self._start = time.perf_counter()
        self._spent = {"held_out": 0.0, "previews": 0.0, "checkpoints": 0.0}
        self._energy = energy_meter(device)
        self._energy_before = self._energy()

    @contextmanager
    def spent_on(self, part: str) -> Iterator[None]:
        """Count the seconds inside this context as those of `held_out`, `previews` or `checkpoints`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent[part] += time.perf_counter() - start

    @property
    def training(self) -> float:
        """Seconds so far that went into training itself."""
        return time.perf_counter() - self._start - sum(self._spent.values())

    def times(self) -> Times:
        """Return the seconds so far, by part."""
        training = self.training
        held_out, previews, checkpoints = self._spent.values()
        total = training + held_out + previews + checkpoints
        return Times(training, held_out, previews, checkpoints, total)

    def sum_up(self, ranks: Ranks) -> Times:
        """Return the seconds so far, on the first rank with the energy of all; every rank has to ask."""
        joules = sum(ranks.gather(self._energy() - self._energy_before))
        return replace(self.times(), energy=None if math.isnan(joules) else joules)
