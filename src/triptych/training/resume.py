"""Finding where an interrupted run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from triptych.checkpoints.find import FOLDER, all_checkpoints, newest_valid
from triptych.checkpoints.prune import clear_leftovers
from triptych.checkpoints.read import read
from triptych.errors import UserError
from triptych.training.state import TrainState

PARTS = ("ema", "weights", "optimizer")
"""What a checkpoint must hold to train on from it."""


@dataclass(frozen=True)
class ResumePoint:
    """The checkpoint that training goes on from, and the newer ones that were passed over."""

    checkpoint: str
    """Folder name; empty when there was none and training starts over."""
    skipped: tuple[str, ...]
    """`folder: reason` for each newer checkpoint that is broken."""


def restore_newest(folder: Path, state: TrainState) -> ResumePoint:
    """Take over the newest whole checkpoint of the run in `folder`, if there is one.

    The caller holds the run's lock, so that unfinished saves can be cleared away.

    Raises:
        UserError: there are checkpoints and none of them can be resumed from; nothing is deleted.
    """
    root = folder / FOLDER
    clear_leftovers(root)
    newest, skipped = newest_valid(root, PARTS)
    told = tuple(f"{path.name}: {reason}" for path, reason in skipped)
    if newest is None:
        if all_checkpoints(root):
            raise UserError(
                f"resume {folder}",
                f"no checkpoint can be resumed from ({'; '.join(told)})",
                "restore one from a copy, or train under another --name",
            )
        return ResumePoint("", told)
    try:
        state.restore(read(newest, PARTS))
    except (RuntimeError, KeyError) as error:  # what torch raises where names or shapes do not fit
        found = "its tensors are of another network"
        raise UserError(f"resume {newest}", found, "restore it from a copy") from error
    return ResumePoint(newest.name, told)
