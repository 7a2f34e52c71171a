"""Peak memory of a call, over what its inputs and weights take, measured in a process of its own.

The process makes the variant and calls it once, so that what is made only once is there: the optimiser's
averages, the library's kernels. Then it hands freed memory back to the system, has the system forget the peak
of its resident set (a 5 written to /proc/self/clear_refs), notes the resident set, calls again, and reads the
peak (VmHWM of /proc/self/status).

A GPU's allocator counts the bytes itself: there the process that measures the time asks it (`extra_peak_on`).
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.processes import context, leave_interrupts, start
from triptych.devices import synchronize

M_MMAP_THRESHOLD = -3
"""Parameter of glibc's `mallopt`, as its header numbers it."""
LARGE = 128 * 1024
"""Bytes of the smallest block that is large."""

STATUS = Path("/proc/self/status")
FORGET_PEAK = Path("/proc/self/clear_refs")


def unmeasurable() -> str:
    """Return why this system does not tell peak memory; empty where it does."""
    try:
        FORGET_PEAK.write_text("5")
        resident("VmHWM")
    except (OSError, ValueError):
        return "not measured: the system has no peak of the resident set that can be reset"
    return ""


def resident(field: str) -> int:
    """Return a field of this process's status, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{STATUS} has no {field}")
    return 1024 * int(found[1])


def extra_peak_apart(make: Callable[[], Callable[[], object]]) -> int | None:
    """Return `extra_peak` of what `make` makes in another process, or None if that did not survive it."""
    started = context()
    receiver, sender = started.Pipe(duplex=False)
    process = started.Process(target=_send_extra_peak, args=(make, sender), daemon=True)
    try:
        start(process)
        sender.close()
        return receiver.recv()
    except EOFError:  # it died, of lack of memory most likely
        return None
    except BaseException:  # which it does not hear of
        process.terminate()
        raise
    finally:
        receiver.close()
        process.join()


def _send_extra_peak(make: Callable[[], Callable[[], object]], sender: Connection) -> None:
    leave_interrupts()
    map_large_blocks()
    sender.send(extra_peak(make()))
    sender.close()


def extra_peak(call: Callable[[], object]) -> int:
    """Return how many bytes more than before it this process holds at the peak of a second call."""
    call()
    gc.collect()
    _hand_back()
    FORGET_PEAK.write_text("5")
    before = resident("VmRSS")
    call()
    return max(0, resident("VmHWM") - before)


def extra_peak_on(device: torch.device, call: Callable[[], object]) -> int:
    """Return how many bytes more than before it tensors take on a GPU at the peak of a call.

    Args:
        device: the GPU.
        call: which was called before, so that what is made only once is there.
    """
    gc.collect()
    synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    synchronize(device)
    return max(0, torch.cuda.max_memory_allocated(device) - before)


def map_large_blocks() -> None:
    """Have the C library ask the system for every large block by itself, and hand it back when it is freed.

    Then the resident set is what is held. By default, and the more so where freed memory is kept, it also has
    holes that nothing fits into.
    """
    with suppress(OSError, TypeError, AttributeError):  # no glibc
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)


def _hand_back() -> None:
    """Have the C library give freed memory back to the system."""
    with suppress(OSError, TypeError, AttributeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)
