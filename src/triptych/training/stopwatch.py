"""Where the seconds of an attempt go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from triptych.record.events import Times


class Stopwatch:
    """Seconds since it was made, split into training and what interrupts it."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._spent = {"held_out": 0.0, "previews": 0.0, "checkpoints": 0.0}

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
