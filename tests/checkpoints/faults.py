"""An operating system that fails, or stops, at the n-th thing asked of it."""

import os
import traceback
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

CALLS = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir")
"""Everything by which a checkpoint reaches the disk. (Reading goes through the built-in `open`.)"""

KILLED = 9


@contextmanager
def watched(before: Callable[[str, tuple], None]) -> Generator[None, None, None]:
    """Call `before(name, arguments)` ahead of each of the CALLS."""

    def watch(name: str, call: Callable) -> Callable:
        def watching(*args: Any, **kwargs: Any) -> Any:
            before(name, args)
            return call(*args, **kwargs)

        return watching

    with mock.patch.multiple(os, **{name: watch(name, getattr(os, name)) for name in CALLS}):
        yield


@contextmanager
def failing(at: int, code: int, forever: bool = False) -> Generator[list[str], None, None]:
    """Fail the call number `at` (and all later ones, if `forever`) with `code`; yields the calls so far."""
    seen: list[str] = []

    def before(name: str, args: tuple) -> None:
        seen.append(name)
        if len(seen) == at or (forever and len(seen) > at):
            raise OSError(code, os.strerror(code))

    with watched(before):
        yield seen


def in_child(action: Callable[[], object]) -> int:
    """Run `action` in a forked process and return its exit status (0 done, KILLED, 1 failed)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 dislikes forks beside threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(at: int, action: Callable[[], object]) -> int:
    """Run `action` in a child that dies at its call number `at`, half-way through if that writes."""

    def dying() -> None:
        count = 0
        write = os.write

        def before(name: str, args: tuple) -> None:
            nonlocal count
            count += 1
            if count == at:
                if name == "write":
                    write(args[0], args[1][: len(args[1]) // 2])
                os._exit(KILLED)

        with watched(before):
            action()

    return in_child(dying)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
