"""Finding where an interrupted run goes on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from triptych.checkpoints.find import FOLDER, GONE, RESUMED_FROM, lost, newest_valid
from triptych.checkpoints.fit import misfit
from triptych.checkpoints.names import parse
from triptych.checkpoints.prune import clear_leftovers
from triptych.checkpoints.read import read
from triptych.errors import UserError
from triptych.training.state import TrainState


@dataclass(frozen=True)
class ResumePoint:
    """The checkpoint that training goes on from, and the newer ones that were passed over."""

    checkpoint: str
    """Folder name; empty when there was none and training starts over."""
    skipped: tuple[str, ...]
    """`folder: reason` for each newer checkpoint that is broken."""


def restore_newest(folder: Path, state: TrainState, recorded: Collection[str] = ()) -> ResumePoint:
    """Take over the newest whole checkpoint of the run in `folder`, if there is one.

    The caller holds the run's lock, so that unfinished saves can be cleared away.

    Args:
        folder: of the run.
        state: takes it over.
        recorded: names of checkpoints that should be there.

    Raises:
        UserError: there are checkpoints, or should be, and none of them can be resumed from, or the newest
            is of another network or malformed; nothing is deleted.
    """
    root = folder / FOLDER
    newest, skipped = newest_valid(root, RESUMED_FROM)
    passed = [(path.name, reason) for path, reason in skipped]
    passed += [(name, GONE) for name in lost(root, recorded, newest)]
    told = tuple(f"{name}: {reason}" for name, reason in sorted(passed, key=_order, reverse=True))
    if newest is None and told:
        raise UserError(
            f"resume {folder}",
            f"no checkpoint can be resumed from ({'; '.join(told)})",
            "restore one from a copy, or train under another --name",
        )
    if newest is not None:
        contents = read(newest)
        try:
            wrong = misfit(contents, state.contents(newest.name, 0.0))
            if wrong is None:
                state.restore(contents)
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            wrong = f"it cannot be restored ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        if wrong:
            raise UserError(f"resume {newest}", wrong, "restore it from a copy, or remove it")
    clear_leftovers(root)
    return ResumePoint(newest.name if newest else "", told)


def _order(passed: tuple[str, str]) -> tuple[int, int]:
    """Return what sorts checkpoints by the steps that were taken before them."""
    position = parse(passed[0])
    assert position is not None  # nothing else is a checkpoint's name
    return position.order
