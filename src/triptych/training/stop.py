"""Requests to stop: signals and a time limit, honoured between two steps, by all ranks after the same one."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Protocol

import torch
import torch.distributed as dist

from triptych.distributed import Ranks

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1")  # the last as Slurm's warning, where the system has it
    if hasattr(signal, name)
)

TIME_OVER = "max-minutes"


class Stop(Protocol):
    """Whatever the loop asks before each step."""

    @property
    def reason(self) -> str | None:
        """Why training should stop; None: it should go on."""
        ...


class StopRequest:
    """Notes why training should stop; the loop asks before every step.

    The first SIGINT, SIGTERM or SIGUSR1 is noted, and the step at hand is finished and saved. A second
    SIGINT interrupts at once, which loses the steps since the last checkpoint and nothing more. Signals are
    noted inside its context, which may be entered again; what was noted stays.
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
            return TIME_OVER
        return None


class AgreedStop:
    """A stop of all ranks after the same step, whichever of them was asked to.

    Each time that it is asked, it begins to collect the ranks' wishes and answers with those of the time
    before, which have arrived meanwhile: nobody waits, and a stop comes one step later. Only at the first
    time, before the first step, all wait for each other.

    Args:
        own: what this rank was asked.
        ranks: all of them; each must ask equally often.
    """

    REASONS = (None, TIME_OVER, *(number.name for number in SIGNALS))

    def __init__(self, own: StopRequest, ranks: Ranks):
        self.own, self.ranks = own, ranks
        self._pending: tuple[dist.Work, torch.Tensor] | None = None

    @property
    def reason(self) -> str | None:
        """Why training should stop; the same on every rank."""
        if not self.ranks.many:
            return self.own.reason
        before, self._pending = self._pending, self._collect()
        work, wish = before or self._pending
        work.wait()
        return self.REASONS[int(wish)]

    def _collect(self) -> tuple[dist.Work, torch.Tensor]:
        wish = torch.tensor(self.REASONS.index(self.own.reason))
        work = dist.all_reduce(wish, op=dist.ReduceOp.MAX, async_op=True)
        return work, wish

    def now(self) -> str | None:
        """Why everything should stop; the same on every rank, which wait for each other here."""
        if not self.ranks.many:
            return self.own.reason
        before, self._pending = self._pending, None
        if before is not None:
            before[0].wait()
        work, wish = self._collect()
        work.wait()
        return self.REASONS[int(wish)]
