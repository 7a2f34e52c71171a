"""Training steps of several processes on one core, which share a batch: what it costs to be many."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

import torch
from torch import Tensor

from benchmarks.comparison import Call
from benchmarks.memory import extra_peak, map_large_blocks
from benchmarks.processes import context, leave_interrupts, start
from triptych.distributed import ALONE, Ranks, joined

MakeStep = Callable[[Ranks], Call]
"""Makes what a rank does in a step, from who it is; it is handed to another process."""

PATIENCE = 120.0
"""Seconds after which a rank is thought to hang."""

STEP, WEIGH = "step", "weigh"
"""What ranks are asked for."""


class RankSteps:
    """A step of several ranks, each a process with one thread, all on one core.

    On a core of their own they would take a share of the time each; on one, all that they do takes its time
    in turn, whatever the machine, and what is more than one rank alone takes is the cost of being many.

    Args:
        count: how many.
        make: makes what each does.
    """

    def __init__(self, count: int, make: MakeStep):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        started = context()
        self._ends: list[Connection] = []
        for rank in range(count):
            mine, its = started.Pipe()
            # They end with the pipe, which closes when the step is forgotten.
            start(started.Process(target=as_rank, args=(rank, count, port, make, its), daemon=True))
            its.close()
            self._ends.append(mine)
        self._answers()

    def __call__(self) -> Sequence[Tensor]:
        """Take a step."""
        self._ask(STEP)
        return ()

    def extra_peak(self) -> int:
        """Return the bytes that a step takes, over what each has before it, of all ranks together."""
        return sum(self._ask(WEIGH))

    def _ask(self, what: str) -> list[int]:
        for end in self._ends:
            end.send(what)
        return self._answers()

    def _answers(self) -> list[int]:
        return [_heard(end) for end in self._ends]


def as_rank(rank: int, count: int, port: int, make: MakeStep, asks: Connection) -> None:
    """Take a step whenever it is asked for, as one of the ranks, until nobody can ask any more."""
    leave_interrupts()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # processes would each want a GPU of their own
    if count == 1:
        return _serve(make(ALONE), asks)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(count)}
    with joined() as ranks:
        _serve(make(ranks), asks)


def _serve(step: Call, asks: Connection) -> None:
    step()
    asks.send(0)
    while True:
        try:
            asked = asks.recv()
        except EOFError:
            return
        if asked == WEIGH:
            map_large_blocks()  # not before: steps are timed with the C library's own treatment of memory
            asks.send(extra_peak(step))
        else:
            step()
            asks.send(0)


def _heard(end: Connection) -> int:
    """Wait for a rank's answer."""
    if not end.poll(PATIENCE):
        raise RuntimeError("a rank of the benchmark does not answer")
    try:
        return end.recv()
    except EOFError:
        raise RuntimeError("a rank of the benchmark died; what it said stands above") from None
