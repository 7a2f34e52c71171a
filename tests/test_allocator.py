"""Memory that was freed is there for what follows, without a page fault for every 4 KiB of it."""

import platform
import subprocess
import sys

FAULTS = """
import resource
import torch
from triptych.allocator import keep_freed_memory
if {keep}:
    keep_freed_memory()
for _ in range(10):  # until freed blocks lie side by side
    torch.empty(2**24).fill_(0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.empty(2**24).fill_(0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep):
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_memory_is_kept():
    """Ten tensors of 64 MB, one after another: of glibc's own doing, each is fetched anew."""
    kept = page_faults(keep=True)
    if platform.libc_ver()[0] == "glibc":
        assert kept < 0.1 * page_faults(keep=False)


FREED = """
import torch
from triptych.allocator import freed_memory, keep_freed_memory
keep_freed_memory()
tensor = torch.zeros(2**26)
before = freed_memory()
del tensor
print(freed_memory() - before)
"""


def test_memory_that_is_kept_is_told():
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    if platform.libc_ver()[0] == "glibc":
        assert 0.99 * 2**28 < int(done.stdout) < 1.1 * 2**28


def test_elsewhere_nothing_happens(monkeypatch):
    from triptych import allocator

    def without_glibc(name):
        raise AttributeError("mallopt")

    monkeypatch.setattr(allocator.ctypes, "CDLL", without_glibc)
    allocator.keep_freed_memory.__wrapped__()
    assert allocator.freed_memory() == 0
