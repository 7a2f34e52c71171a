"""What is shown of long work: a bar on a terminal, elsewhere one line with the time it takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from triptych.work import Work

PATIENCE = 2.0
"""Seconds that work may take without a word."""


class WorkConsole:
    """Watches pieces of work, one after another, and shows those that take their time.

    Args:
        say: prints a line.
        quiet: show nothing.
        terminal: whether to move a bar on standard error; by default where that is a terminal.
        clock: seconds, from any start.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        quiet: bool = False,
        terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.say = say
        self.quiet = quiet
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.clock = clock
        self._start = 0.0
        self._said = False
        self._bar: tqdm | None = None

    def __call__(self, work: Work) -> None:
        """See how far a piece of work has come."""
        if work.done == 0:
            self._begin(work)
        if self._bar is not None:
            self._bar.update(work.done - self._bar.n)
            if work.done == work.total:
                self._bar.close()
                self._bar = None
        elif not self.quiet and not self._said:
            took = self.clock() - self._start
            if took >= PATIENCE and 0 < work.done < work.total:
                self._said = True
                self.say(f"{work.what}: {duration(took * work.total / work.done)}")

    def _begin(self, work: Work) -> None:
        self._start, self._said = self.clock(), False
        if self.terminal and not self.quiet:
            self._bar = tqdm(
                total=work.total,
                desc=work.what,
                unit=work.unit,
                delay=PATIENCE,
                leave=False,
                dynamic_ncols=True,
            )


def duration(seconds: float) -> str:
    """Return a rough time in words."""
    if seconds < 90:
        return f"about {seconds:.0f} seconds"
    return f"about {seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"about {seconds / 3600:.1f} hours"
