"""Writing that survives a power cut: every file and folder is flushed before anything relies on it."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

WRITING = ".writing"
"""Folder under `checkpoints/` for what is unfinished. Nothing ever reads a checkpoint from there."""

CHUNK = 16 << 20
"""Bytes handed to the system at once: Linux takes at most 2 GiB, and signals are handled in between."""


def write_file(path: Path, data: bytes, proceed: Callable[[], None] = lambda: None) -> None:
    """Create `path` with `data` and flush it to the disk; raises OSError, also if it exists.

    `proceed` is called before each chunk, and may raise to give up.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        view = memoryview(data)
        while view:
            proceed()
            view = view[os.write(descriptor, view[:CHUNK]) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk; raises OSError."""
    if os.name == "nt":  # Windows opens no folders, and its renames are written through
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


@contextmanager
def aside(root: Path, name: str) -> Generator[Path, None, None]:
    """Yield a new folder under `root/.writing/` that is gone afterwards, whatever happens.

    `name` only tells a reader whose it was. What is to stay must be renamed out of it, or with it.
    """
    folder = root / WRITING / f"{name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    try:
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another one is in use, or it never came to be
            folder.parent.rmdir()
