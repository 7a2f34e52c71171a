"""Requests to stop: signals and a time limit, honoured between two steps."""

from __future__ import annotations

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Notes why training should stop; the loop asks after every step.

    The first SIGINT or SIGTERM is noted, and the step at hand is finished and saved. A second SIGINT
    interrupts at once, which loses the steps since the last checkpoint and nothing more.
    """

    def __init__(self, deadline: float | None = None):
        """Set a deadline on the clock of `time.monotonic`, or none."""
        self.deadline = deadline
        self._signal: signal.Signals | None = None

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    @property
    def reason(self) -> str | None:
        """Why training should stop: the signal's name or `max-minutes`; None: it should go on."""
        if self._signal is not None:
            return self._signal.name
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return "max-minutes"
        return None
