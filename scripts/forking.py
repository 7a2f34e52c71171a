"""A process forked from one that has loaded what it needs: anew, it would take seconds."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable


def forked(work: Callable[[], object], said: int) -> int:
    """Have a child do the work and end; return its process's number.

    Args:
        work: done in the child. What it returns, or its `SystemExit` says, is the exit code; None is 0, and
            any other exception is 1.
        said: a file that is open for writing, for what the child prints.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 dislikes forks beside threads
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.dup2(said, 1)
        os.dup2(said, 2)
        code = _code(work())
    except SystemExit as end:
        code = _code(end.code)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _code(ended: object) -> int:
    return ended if isinstance(ended, int) else 0 if ended is None else 1
