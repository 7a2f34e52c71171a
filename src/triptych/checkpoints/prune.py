"""Retention: what is kept of older checkpoints, once the newest are known to be safe."""

import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from triptych.checkpoints import manifest as manifests
from triptych.checkpoints.commit import commit, remove_unlisted
from triptych.checkpoints.durable import WRITING, aside, sync_folder, write_file
from triptych.checkpoints.find import all_checkpoints, best_mse
from triptych.checkpoints.manifest import BrokenCheckpoint, Manifest
from triptych.checkpoints.names import Position, parse
from triptych.checkpoints.verify import read_state, verify
from triptych.errors import UserError

PIN = "pinned"
"""A file of this name in a checkpoint's folder exempts it from pruning."""

KEPT_PARTS = ("ema", "weights")
"""Thinning keeps the first of these that a checkpoint holds: enough to draw images, not to resume."""


@dataclass(frozen=True)
class Retention:
    """Which checkpoints stay, and how much of them. A file `pinned` in a folder keeps it whole."""

    full: int = 2
    """Newest whole checkpoints that keep everything, so that training can resume; at least 1."""
    keep_every: int | None = None
    """Of the older ones, keep the EMA weights at multiples of this many epochs and remove the rest;
    None keeps the EMA weights of all. Stops inside an epoch are removed in any case."""
    best: bool = True
    """Keep the EMA weights of the one with the lowest held-out MSE in any case."""

    def __post_init__(self) -> None:
        for field, value in (("full", self.full), ("keep_every", self.keep_every)):
            if value is not None and value < 1:
                raise UserError(
                    f"checkpoint retention {field} = {value}", "it counts from 1", "give 1 or more"
                )

    def keeps(self, position: Position, best: Position | None) -> bool:
        """Tell whether a checkpoint that is no longer among the newest stays, thinned."""
        if self.best and position == best:
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
    Broken ones newer than those are left for a reader to look at. `keep` names more that stay, thinned
    (what evaluations chose). The caller holds the run's lock. Raises UserError where the disk refuses.
    """
    newest_first = list(reversed(all_checkpoints(root)))
    full: list[Path] = []
    older: list[Path] = []
    for index, folder in enumerate(newest_first):
        with suppress(BrokenCheckpoint):
            if _is_full(verify(folder)):
                full.append(folder)
        if len(full) == retention.full:
            older = newest_first[index + 1 :]
            break
    if not older:
        return Pruned((), ())
    best = best_mse(read_state(full[0]))
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
            f"prune the checkpoints in {root}", error.strerror or str(error), "mend that; none is damaged"
        ) from error
    return Pruned(tuple(removed), tuple(thinned))


def thin(folder: Path) -> bool:
    """Reduce a checkpoint to its EMA weights and its state; tell whether there was anything to drop.

    One that is broken, or holds no weights at all, is left as it is. Raises OSError.
    """
    try:
        manifest = Manifest.load(folder)
    except BrokenCheckpoint:
        return False
    if not _is_full(manifest):
        return False
    part = next(part for part in KEPT_PARTS if part in manifest.parts)
    with aside(folder.parent, folder.name) as staged:
        thinned = replace(manifest, parts={part: manifest.parts[part]})
        write_file(staged / manifests.FILE_NAME, thinned.encode())
        commit(staged, folder)
    return True


def remove(folder: Path) -> None:
    """Take a checkpoint away in one step, so that no half of it ever stands; raises OSError."""
    with aside(folder.parent, folder.name) as staged:
        os.rename(folder, staged / folder.name)
        sync_folder(folder.parent)


def clear_leftovers(root: Path) -> list[str]:
    """Remove what a killed process left unfinished in `root` and return its names.

    The caller holds the run's lock: a save under way in another process would be taken for a leftover.
    """
    cleared = []
    writing = root / WRITING
    if writing.is_dir():
        cleared += sorted(f"{WRITING}/{path.name}" for path in writing.iterdir())
        shutil.rmtree(writing, ignore_errors=True)
    for folder in all_checkpoints(root):
        cleared += [f"{folder.name}/{name}" for name in remove_unlisted(folder)]
    return cleared


def _is_full(manifest: Manifest) -> bool:
    """Tell whether it holds weights and more than thinning would leave."""
    return len(manifest.parts) > 1 and any(part in manifest.parts for part in KEPT_PARTS)
