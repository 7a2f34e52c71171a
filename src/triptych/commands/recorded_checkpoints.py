"""Checkpoints that a run's record tells of. Imports no torch."""

from __future__ import annotations

from triptych.record.events import Saved
from triptych.record.history import History


def recorded(history: History) -> frozenset[str]:
    """Return the names of the checkpoints that were saved, and not thinned or removed since."""
    thinned = {name for event in _saves(history) for name in event.thinned}
    return kept(history) - thinned


def kept(history: History) -> frozenset[str]:
    """Return the names of those that were saved, and not removed since, thinned or not.

    Of records that do not tell the two apart, those that were thinned are left out. A small copy has one.
    """
    if history.exported:
        return frozenset({history.exported.checkpoint})
    removed = {name for event in _saves(history) for name in event.removed}
    return frozenset(event.data.checkpoint for event in history.of_kind(Saved)) - removed


def _saves(history: History) -> list[Saved]:
    """Return every save, also those whose steps were taken again."""
    return [event.data for event in history.events if isinstance(event.data, Saved)]
