"""Checkpoints that a run's record tells of. Imports no torch."""

from __future__ import annotations

from triptych.record.events import Saved
from triptych.record.history import History


def recorded(history: History) -> frozenset[str]:
    """Return the names of the checkpoints that were saved, and not thinned or removed since."""
    pruned = {name for e in history.events if isinstance(e.data, Saved) for name in e.data.removed}
    return frozenset(event.data.checkpoint for event in history.of_kind(Saved)) - pruned
