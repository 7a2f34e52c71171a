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


class _Arenas(ctypes.Structure):
    """glibc's `struct mallinfo2`: ten numbers, the ninth of which is the bytes of free blocks."""

    _fields_ = (("before", ctypes.c_size_t * 8), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t))


def freed_memory() -> int:
    """Return the bytes that were freed and that the C library keeps for what follows; 0: it does not tell."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (OSError, TypeError, AttributeError):  # no glibc, or one before 2.33
        return 0
    mallinfo2.restype = _Arenas
    return mallinfo2().fordblks
