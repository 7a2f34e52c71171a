"""Changing a published checkpoint in one atomic step: the replacement of its manifest."""

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from triptych.checkpoints import manifest as manifests
from triptych.checkpoints.durable import sync_folder
from triptych.checkpoints.manifest import BrokenCheckpoint, Manifest


def free_name(folder: Path, stem: str, suffix: str) -> str:
    """Return a file name that nothing in `folder` has: `ema.safetensors`, else `ema.2.safetensors`, ..."""
    name, generation = f"{stem}{suffix}", 1
    while os.path.lexists(folder / name):
        generation += 1
        name = f"{stem}.{generation}{suffix}"
    return name


def commit(staged: Path, folder: Path) -> None:
    """Make the checkpoint in `folder` what the manifest in `staged` says.

    The files in `staged` are already flushed and carry names that are free in `folder`. They move in
    first and mean nothing until the manifest follows; the files it no longer names go last. So at every
    instant `folder` is either the old checkpoint or the new one. Raises OSError.
    """
    arriving = [path.name for path in staged.iterdir() if path.name != manifests.FILE_NAME]
    try:
        for name in arriving:
            os.rename(staged / name, folder / name)
        sync_folder(folder)
        os.replace(staged / manifests.FILE_NAME, folder / manifests.FILE_NAME)
    except BaseException:
        remove_unlisted(folder, arriving)
        raise
    sync_folder(folder)
    remove_unlisted(folder)


def remove_unlisted(folder: Path, among: Collection[str] | None = None) -> list[str]:
    """Delete the checkpoint files in `folder` that its manifest does not name, and return their names.

    `among` limits the search.
    """
    removed = []
    for name in unlisted(folder):
        if among is None or name in among:
            with suppress(OSError):  # rubbish that cannot be removed now harms nobody
                (folder / name).unlink()
                removed.append(name)
    return removed


def unlisted(folder: Path) -> list[str]:
    """Return the names of the checkpoint files in `folder` that its manifest does not name.

    Files of other kinds (`pinned`, a reader's notes) are none of them; where the manifest cannot be read,
    nothing is.
    """
    try:
        listed = {file.name for file in Manifest.load(folder).files} | {manifests.FILE_NAME}
    except BrokenCheckpoint:
        return []
    ours = sorted(path.name for path in folder.iterdir() if manifests.PLAIN_FILE_NAME.fullmatch(path.name))
    return [name for name in ours if name not in listed]
