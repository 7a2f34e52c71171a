"""Writing that survives a power cut: every file and folder is flushed before anything relies on it."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WRITING = ".writing"
"""Folder under `checkpoints/` for what is unfinished. Nothing ever reads a checkpoint from there."""

CHUNK = 16 << 20
"""Bytes handed to the system at once: Linux takes at most 2 GiB, and signals are handled in between."""


Proceed = Callable[[], None]
"""Asked at every chunk of a long piece of writing; raises to give it up."""


def always() -> None:
    """Never give up."""


def write_file(path: Path, data: Iterable[bytes | memoryview], proceed: Proceed = always) -> None:
    """Create `path` with `data` and flush it to the disk; raises OSError, also if it exists.

    `proceed` is asked before each chunk.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        for chunk in chunks(data):
            view = memoryview(chunk)
            while view:
                proceed()
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def chunks(data: Iterable[bytes | memoryview]) -> Iterator[bytearray]:
    """Yield `data` in pieces of `CHUNK` bytes, the last of which may be shorter."""
    pending = bytearray()
    for piece in data:
        left = memoryview(piece)
        while left:
            room = CHUNK - len(pending)
            pending += left[:room]
            left = left[room:]
            if len(pending) == CHUNK:
                yield pending
                pending = bytearray()
    if pending:
        yield pending


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
