"""Finding checkpoints: all of them, the newest whole one, and the one that a user means."""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from triptych.checkpoints.manifest import BrokenCheckpoint
from triptych.checkpoints.names import Position, parse
from triptych.checkpoints.verify import read_state, verify
from triptych.errors import UserError

FOLDER = "checkpoints"
"""Name of the folder of checkpoints inside a run's folder."""

GONE = "its folder is gone, though the record tells of it"
"""What is wrong with a checkpoint that is lost."""

RESUMED_FROM = ("ema", "weights", "optimizer")
"""The parts that a checkpoint must hold for training to go on from it."""


def all_checkpoints(root: Path) -> list[Path]:
    """Return the folders in `root` that have the name of a checkpoint, oldest first, whole or not."""
    if not root.is_dir():
        return []
    named = [(position.order, path.name, path) for path in root.iterdir() if (position := parse(path.name))]
    return [path for _, _, path in sorted(named) if path.is_dir()]


def newest_valid(root: Path, parts: Collection[str] = ()) -> tuple[Path | None, list[tuple[Path, str]]]:
    """Return the newest checkpoint that is whole and holds `parts`, and the newer ones that are not.

    Each skipped one comes with its reason, newest first, for the caller to say aloud.
    """
    skipped = []
    for folder in reversed(all_checkpoints(root)):
        try:
            held = verify(folder).parts
        except BrokenCheckpoint as error:
            skipped.append((folder, error.reason))
            continue
        missing = [part for part in parts if part not in held]
        if not missing:
            return folder, skipped
        skipped.append((folder, f"it holds no {', '.join(missing)} (only {', '.join(held) or 'its state'})"))
    return None, skipped


def lost(root: Path, recorded: Collection[str], newest: Path | None) -> list[str]:
    """Return which of the `recorded` checkpoints are newer than `newest` and not there, the newest first.

    Older ones are not missed: whoever needed the room may have removed them.
    """
    after = parse(newest.name) if newest else None
    missed = [
        (position.order, name)
        for name in recorded
        if (position := parse(name)) is not None
        and (after is None or position.order > after.order)
        and not (root / name).is_dir()
    ]
    return [name for _, name in sorted(missed, reverse=True)]


def by_held_out(state: Mapping[str, Any]) -> list[Position]:
    """Return the positions whose held-out MSE a state knows, the lowest first, of equals the earliest.

    `state["held_out"]` lists every measured checkpoint, `state["best"]` (all that states of older versions
    have) those that were lower than any before, both as `{"epoch": ..., "checkpoint": folder name,
    "mse": ...}`. Of two entries for one checkpoint the later counts; those of any other form are passed over.
    """
    measured: dict[Position, float] = {}
    for history in (state.get("best"), state.get("held_out")):
        for entry in history if isinstance(history, list) else ():
            if not isinstance(entry, dict):
                continue
            name, mse = entry.get("checkpoint"), entry.get("mse")
            position = parse(name) if isinstance(name, str) else None
            if position and type(mse) in (int, float) and math.isfinite(mse):
                measured[position] = mse
    return sorted(measured, key=lambda position: (measured[position], position.order))


def best_mse(state: Mapping[str, Any]) -> Position | None:
    """Return the position with the lowest held-out MSE in a state's history; see `by_held_out`."""
    ranked = by_held_out(state)
    return ranked[0] if ranked else None


def resolve(run_folder: Path, wanted: str, chosen: Mapping[str, str] | None = None) -> Path:
    """Return the checkpoint of a run that `wanted` means; raises UserError where there is none.

    `wanted` is `last` (the newest whole one), `best-mse` (by the history in the newest whole one),
    a folder name of any digit width, `epoch-350`, or the epoch alone, `350`. `chosen` maps further
    words to folder names: evaluations, which this room does not know, choose `best-fid`.
    """
    root = run_folder / FOLDER
    chosen = chosen or {}
    if wanted in ("last", "best-mse"):
        newest, skipped = newest_valid(root)
        if newest is None and skipped:
            asked = f"checkpoint {wanted!r} of {run_folder}"
            raise UserError(asked, f"none is whole ({skipped[0][1]})", "restore one from a copy")
        if newest is None:
            raise _unknown(run_folder, wanted, None)
        if wanted == "last":
            return newest
        position = best_mse(read_state(newest))
        if position is None:
            raise _unknown(run_folder, wanted, "no held-out MSE was measured yet")
        return _at(run_folder, wanted, position)
    if wanted.startswith("best-") and wanted not in chosen:
        raise _unknown(run_folder, wanted, "no evaluation has chosen one yet")
    name = chosen.get(wanted, wanted)
    if parse(name) and (root / name).is_dir():
        return root / name
    position = parse(name) or parse(f"epoch-{name}")
    if position is None:
        raise _unknown(run_folder, wanted, "that names no checkpoint")
    return _at(run_folder, wanted, position)


def _at(run_folder: Path, wanted: str, position: Position) -> Path:
    for folder in all_checkpoints(run_folder / FOLDER):
        if parse(folder.name) == position:
            return folder
    inside = "" if position.step is None else f", step {position.step}"
    raise _unknown(run_folder, wanted, f"epoch {position.epoch}{inside} is not there")


def _unknown(run_folder: Path, wanted: str, found: str | None) -> UserError:
    names = [folder.name for folder in all_checkpoints(run_folder / FOLDER)]
    if not names:
        return UserError(
            f"checkpoint {wanted!r} of {run_folder}", "the run has none", "train it first (triptych train)"
        )
    listed = ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:4])}, ..., {', '.join(names[-4:])}"
    return UserError(
        f"checkpoint {wanted!r} of {run_folder}",
        found or "it is not there",
        f"name one of {listed} (or last, best-mse)",
    )
