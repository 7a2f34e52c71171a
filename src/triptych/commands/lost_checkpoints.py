"""Checkpoints that a run's record tells of and that are there no more. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from triptych.checkpoints.names import parse
from triptych.record.events import Saved
from triptych.record.history import History

GONE = "its folder is gone, though the record tells of it"
"""What is said of such a checkpoint."""


def lost_after(newest: str, history: History, root: Path) -> tuple[str, ...]:
    """Return the names of the checkpoints newer than `newest` that should be in `root`, the newest first.

    Older ones are not missed: retention may have removed them, or whoever needed the room. `newest` is empty
    where training would begin at its start.
    """
    pruned = {name for e in history.events if isinstance(e.data, Saved) for name in e.data.removed}
    saved = {event.data.checkpoint for event in history.of_kind(Saved)} - pruned
    after = parse(newest)
    lost = [
        (position.order, name)
        for name in saved
        if (position := parse(name)) is not None
        and (after is None or position.order > after.order)
        and not (root / name).is_dir()
    ]
    return tuple(name for _, name in sorted(lost, reverse=True))
