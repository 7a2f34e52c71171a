"""How the C library treats the memory of tensors on a processor."""

from __future__ import annotations

import ctypes
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's `mallopt`, as its header numbers them."""


@cache
def keep_freed_memory() -> None:
    """Have the C library keep the memory that tensors on a processor free, for those that follow.

    By default glibc hands every large block back to the system, and each new one costs a page fault for every
    4 KiB: more than an operation on it. Elsewhere this does nothing.

    For training, whose steps ask for blocks of the same sizes again and again: its peak stays what it was.
    Where sizes keep changing, what is kept may lie in pieces that fit nothing, and the process grows.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # no glibc
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
