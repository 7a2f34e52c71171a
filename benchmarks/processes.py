"""How the benchmarks start processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess


def context() -> ForkServerContext | SpawnContext:
    """Return how processes are started: by a server that has imported everything and computed nothing.

    A fork of this process would inherit its memory, and have its threads in disorder. There is one server for
    all, which imports what whoever asks first names: so all ask here.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["benchmarks.preloaded"])
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as the server has it from its first line on
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, heard)
    return found


def start(process: BaseProcess) -> None:
    """Start a process; Ctrl-C meanwhile is heard afterwards, when there is a process that can be ended."""
    pressed = []
    heard = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, heard)
    if pressed:
        raise KeyboardInterrupt


def leave_interrupts() -> None:
    """Leave Ctrl-C to the process that started this one, which ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
