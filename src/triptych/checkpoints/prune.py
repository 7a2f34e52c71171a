"""Retention: what is kept of older checkpoints, once the newest are known to be safe."""

import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from triptych.checkpoints import manifest as manifests
from triptych.checkpoints.commit import commit, remove_unlisted, unlisted
from triptych.checkpoints.durable import WRITING, aside, sync_folder, write_file
from triptych.checkpoints.find import all_checkpoints, by_held_out
from triptych.checkpoints.manifest import BrokenCheckpoint, Manifest
from triptych.checkpoints.names import Position, parse
from triptych.checkpoints.verify import read_state, verify
from triptych.errors import UserError

PIN = "pinned"
"""A file of this name in a checkpoint's folder exempts it from pruning."""


@dataclass(frozen=True)
class Retention:
    """Which checkpoints stay, and how much of them. A file `pinned` in a folder keeps it whole."""

    full: int = 2
    """Newest whole checkpoints that keep everything, so that training can resume; at least 1."""
    keep_every: int | None = None
    """Of the older ones, keep the averages at multiples of this many epochs and remove the rest;
    None keeps those of all. Stops inside an epoch are removed in any case."""
    best: int = 1
    """Keep the averages of so many with the lowest held-out MSE in any case; 0: of none."""

    def __post_init__(self) -> None:
        for field, value, least in (
            ("full", self.full, 1),
            ("keep_every", self.keep_every, 1),
            ("best", self.best, 0),
        ):
            if value is not None and value < least:
                raise UserError(
                    f"checkpoint retention {field} = {value}",
                    f"it counts from {least}",
                    f"give {least} or more",
                )

    def keeps(self, position: Position, best: Collection[Position]) -> bool:
        """Tell whether a checkpoint that is no longer among the newest stays, thinned."""
        if position in best:
            return True
        if position.step is not None:  # a stop inside an epoch served its resume and nobody's comparison
            return False
        return self.keep_every is None or position.epoch % self.keep_every == 0


@dataclass(frozen=True)
class Pruned:
    """Names of the checkpoints that changed."""

    removed: tuple[str, ...]
    thinned: tuple[str, ...]


def prune(root: Path, retention: Retention, keep: Collection[str] = ()) -> Pruned:
    """Thin and remove checkpoints in `root` by the rule, and say which.

    The newest `retention.full` whole ones are verified first; nothing happens while there are fewer.
    Broken ones newer than those are left for a reader to look at. The best are those of the checkpoints
    that are still there, by what the newest whole one knows. `keep` names more that stay, thinned (what
    evaluations chose). The caller holds the run's lock. Raises UserError where the disk refuses.
    """
    newest_first = list(reversed(all_checkpoints(root)))
    full: list[Path] = []
    older: list[Path] = []
    for index, folder in enumerate(newest_first):
        with suppress(BrokenCheckpoint):
            if verify(folder).is_full:
                full.append(folder)
        if len(full) == retention.full:
            older = newest_first[index + 1 :]
            break
    if not older:
        return Pruned((), ())
    there = {parse(folder.name) for folder in newest_first}
    ranked = [position for position in by_held_out(read_state(full[0])) if position in there]
    best = ranked[: retention.best]
    kept = {parse(name) for name in keep}
    removed, thinned = [], []
    try:
        for folder in older:
            position = parse(folder.name)
            if position is None or (folder / PIN).exists():
                continue
            if position not in kept and not retention.keeps(position, best):
                remove(folder)
                removed.append(folder.name)
            elif thin(folder):
                thinned.append(folder.name)
    except OSError as error:
        raise UserError(
            f"prune the checkpoints in {root}",
            error.strerror or str(error),
            "none is damaged: mend that, and give the same command to go on",
        ) from error
    return Pruned(tuple(removed), tuple(thinned))


def thin(folder: Path) -> bool:
    """Reduce a checkpoint to its averages and its state; tell whether there was anything to drop.

    Averages are the parts `ema` and `ema_...`; where there are none, the weights stay in their place. One
    that is broken, or holds no weights at all, is left as it is. Raises OSError.
    """
    try:
        manifest = Manifest.load(folder)
    except BrokenCheckpoint:
        return False
    if not manifest.is_full:
        return False
    with aside(folder.parent, folder.name) as staged:
        thinned = replace(manifest, parts={part: manifest.parts[part] for part in manifest.drawable})
        write_file(staged / manifests.FILE_NAME, [thinned.encode()])
        commit(staged, folder)
    return True


def remove(folder: Path) -> None:
    """Take a checkpoint away in one step, so that no half of it ever stands; raises OSError."""
    with aside(folder.parent, folder.name) as staged:
        os.rename(folder, staged / folder.name)
        sync_folder(folder.parent)


def leftovers(root: Path) -> list[str]:
    """Return the names, relative to `root`, of what a killed process left unfinished there.

    While another process writes, the save that it is at is among them.
    """
    writing = root / WRITING
    found = sorted(f"{WRITING}/{path.name}" for path in writing.iterdir()) if writing.is_dir() else []
    return found + [f"{folder.name}/{name}" for folder in all_checkpoints(root) for name in unlisted(folder)]


def clear_leftovers(root: Path) -> list[str]:
    """Remove what a killed process left unfinished in `root` and return its names.

    The caller holds the run's lock: a save under way in another process would be taken for a leftover.
    """
    cleared = leftovers(root)
    shutil.rmtree(root / WRITING, ignore_errors=True)
    for folder in all_checkpoints(root):
        remove_unlisted(folder)
    return cleared
