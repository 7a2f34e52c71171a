"""Folders that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from triptych.checkpoints.durable import aside, sync_folder
from triptych.errors import UserError


def refuse_taken(folder: Path, asked: str, remedy: str) -> None:
    """Raise `UserError` where something is at `folder` already that would be lost."""
    try:
        if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
            return
        raise UserError(f"{asked} {folder}", "something is there already", remedy)
    except OSError as error:
        raise UserError(f"{asked} {folder}", (error.strerror or str(error)).lower(), remedy) from error


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """Yield a new folder that becomes `folder` when all has been written, and is gone if anything fails.

    Raises:
        OSError: the disk refuses, or something has come to be at `folder` in the meantime.
    """
    missing = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with aside(folder.parent, folder.name) as staged:
            whole = staged / folder.name
            whole.mkdir()
            yield whole
            if folder.is_dir():
                folder.rmdir()  # empty, or this fails
            os.rename(whole, folder)
            sync_folder(folder.parent)
    except BaseException:
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()
        raise
