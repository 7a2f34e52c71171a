"""One writer per run: an advisory lock that the operating system drops when its holder dies."""

import errno
import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from triptych.errors import UserError

if sys.platform == "win32":
    import msvcrt

    def _acquire(descriptor: int) -> None:
        # Windows forbids others to read locked bytes: lock one far behind the holder's name.
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _acquire(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


FILE_NAME = ".lock"
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
PAUSES = (0.02, 0.1)
"""Seconds to wait before a lock is taken for held: `holder` has it for less."""
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def lock(run_folder: Path) -> Generator[None, None, None]:
    """Hold the run's folder, made if need be, against every other process that would write to it.

    The file `.lock` stays behind: its content names the last holder, the lock itself is the system's.
    On a file system without locks (some clusters' scratch) a warning takes its place.
    Raises UserError naming the holder, or saying why the folder cannot be written.
    """
    path = run_folder / FILE_NAME
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(
            f"write to {run_folder}", error.strerror or str(error), "name another folder with --runs"
        ) from error
    try:
        try:
            _acquire_soon(descriptor)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                warnings.warn(f"{run_folder}: no locks on this file system; start no run twice", stacklevel=3)
            elif error.errno in HELD:
                raise UserError(
                    f"write to {run_folder}",
                    f"{_holder(path)} is writing there",
                    "wait until it is done or stop it, or start another run with --name",
                ) from None
            else:
                raise
        _sign(descriptor)
        yield
    finally:
        os.close(descriptor)


def holder(run_folder: Path) -> str | None:
    """Return who writes to the run's folder at this moment, in words; None: nobody, or it cannot be known.

    Nothing is left behind. The lock is taken for an instant, which `lock` waits for.
    """
    path = run_folder / FILE_NAME
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:  # nobody ever wrote there, or nobody can
        return None
    try:
        _acquire(descriptor)
    except OSError as error:
        return _holder(path) if error.errno in HELD else None
    finally:
        os.close(descriptor)
    return None


def _acquire_soon(descriptor: int) -> None:
    """Acquire the lock, or raise what `_acquire` does: only after a while where somebody holds it."""
    for pause in PAUSES:
        try:
            return _acquire(descriptor)
        except OSError as error:
            if error.errno not in HELD:
                raise
            time.sleep(pause)
    _acquire(descriptor)


def _sign(descriptor: int) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    with suppress(OSError):  # a full disk must not keep anyone from the lock
        os.ftruncate(descriptor, 0)
        os.write(descriptor, holder.encode())


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_bytes())
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it has not signed yet
