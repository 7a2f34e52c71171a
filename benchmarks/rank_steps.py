"""Training steps of several processes on one core, which share a batch: what it costs to be many."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext

import torch
from torch import Tensor

from benchmarks.comparison import Call
from triptych.distributed import ALONE, Ranks, joined

MakeStep = Callable[[Ranks], Call]
"""Makes what a rank does in a step, from who it is; it is handed to another process."""

PATIENCE = 120.0
"""Seconds after which a rank is thought to hang."""


def together(count: int, make: MakeStep) -> Call:
    """Return a step of so many ranks, each a process with one thread, all on one core.

    On a core of their own they would take a share of the time each; on one, all that they do takes its time
    in turn, whatever the machine, and what is more than one rank alone takes is the cost of being many.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = _context()
    ends: list[Connection] = []
    for rank in range(count):
        mine, its = context.Pipe()
        # They end with the pipe, which closes when the step is forgotten.
        context.Process(target=as_rank, args=(rank, count, port, make, its), daemon=True).start()
        its.close()
        ends.append(mine)
    for end in ends:
        _hear(end)

    def step() -> Sequence[Tensor]:
        for end in ends:
            end.send(True)
        for end in ends:
            _hear(end)
        return ()

    return step


def _context() -> ForkServerContext | SpawnContext:
    """Return how processes are started: a fork of this one would have its threads in disorder."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo", "benchmarks.cases.loop_step"])
    return context


def as_rank(rank: int, count: int, port: int, make: MakeStep, asks: Connection) -> None:
    """Take a step whenever it is asked for, as one of the ranks, until nobody can ask any more."""
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
    asks.send(True)
    while True:
        try:
            asks.recv()
        except EOFError:
            return
        step()
        asks.send(True)


def _hear(end: Connection) -> None:
    """Wait for a rank's answer."""
    if not end.poll(PATIENCE):
        raise RuntimeError("a rank of the benchmark does not answer")
    try:
        end.recv()
    except EOFError:
        raise RuntimeError("a rank of the benchmark died; what it said stands above") from None
