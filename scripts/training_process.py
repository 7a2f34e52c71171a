"""A training in a process of its own, which can be watched and killed: forked, and not started anew."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: threads do not survive a fork

import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from forking import forked

from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.names import parse
from triptych.cli import main as triptych

WRITING = Path(FOLDER, ".writing")
POLL = 0.0005
"""Seconds between two looks at what a process is doing."""
PATIENCE = 120.0
"""Seconds without a checkpoint after which it is taken to hang."""


class Failed(AssertionError):  # noqa: N818
    """What must not happen did."""


@dataclass
class Life:
    """One process that trains: a child which runs the program's own `main`."""

    folder: Path
    command: Sequence[str]
    log: Path

    def __post_init__(self) -> None:
        with self.log.open("ab") as log:
            self.pid = forked(lambda: triptych(self.command), log.fileno())
        self.born = time.monotonic()
        self.code: int | None = None

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()  # whatever went wrong here, nothing goes on training

    def over(self) -> bool:
        """Whether the process has ended by itself."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def kill(self) -> bool:
        """Kill the process; return whether it was alive to be killed."""
        if self.over():
            return False
        os.kill(self.pid, signal.SIGKILL)
        return self.end() == -signal.SIGKILL

    def said(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_text()[-2000:]

    def saves(self) -> Iterator[str]:
        """Yield the name of each checkpoint when its writing has begun, until the process ends."""
        seen, since = "", time.monotonic()
        while not self.over():
            for name in unfinished(self.folder):
                if name != seen:
                    seen, since = name, time.monotonic()
                    yield name
            if time.monotonic() - since > PATIENCE:
                raise Failed(f"no checkpoint for {PATIENCE:.0f} seconds: {self.said()}")
            time.sleep(POLL)


def unfinished(folder: Path) -> list[str]:
    """Return the names of the checkpoints that are being written, or that a killed process left so.

    They are newer than all that have their names: an older one is on its way out, or being thinned.
    """
    there = [position.order for name in entries(folder / FOLDER) if (position := parse(name))]
    newest = max(there, default=(-1, -1))
    names = [name.partition(".")[0] for name in entries(folder / WRITING)]
    return [name for name in names if (position := parse(name)) and position.order > newest]


def entries(folder: Path) -> list[str]:
    """Return the names in a folder; none where there is no such folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
