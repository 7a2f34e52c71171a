"""How far a long piece of work has come, for whoever shows it: what works prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Work(NamedTuple):
    """A piece of work that may take minutes, and how much of it is done."""

    what: str
    """What is being done, such as `training the classifier`."""
    done: int
    """Images worked on so far: 0 at the first report."""
    total: int
    """Images to be worked on in all; equal to `done` at the last report."""
    unit: str = "image"
    """What is counted, where it is not images."""


Watch = Callable[[Work], None]
"""Sees a report before the work, every second or so during it, and after it."""


def unwatched(work: Work) -> None:
    """Show nothing."""
