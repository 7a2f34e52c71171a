"""What figures were measured on, with and by: without it they mean nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import torch

from benchmarks.comparison import DTYPE, WARM_UP
from benchmarks.memory import unmeasurable
from benchmarks.on_device import chosen
from triptych.commands.bench import BenchOptions
from triptych.devices import device_name
from triptych.precision import best_precision
from triptych.record.environment import versions

MEMORY = (
    "peak of the resident set during a second call, less the resident set before it, each variant in a "
    "process of its own that hands large blocks back when they are freed"
)
GPU_MEMORY = "on a GPU: peak of what its tensors take during a further call, less what they took before it"


def facts(options: BenchOptions) -> dict[str, str]:
    """Return hardware, versions and how it is measured, by their titles."""
    allocator = (
        "as the C library has it"
        if options.plain_allocator
        else "freed memory is kept for what follows (triptych.allocator), for ours and peers alike"
    )
    named = {name: versions().get(name, "unknown") for name in ("triptych", "commit", "python", "torch")}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": device_name(torch.device("cpu")),
        "device": _device(chosen(options)),
        "cores": f"{_usable_cores()} usable of {os.cpu_count()}; {_memory()}",
        "platform": versions()["platform"],
        **named,
        "kernels": f"{torch.backends.cpu.get_cpu_capability()}; {_libraries()}",
        "threads": str(torch.get_num_threads()),
        "dtype": f"{DTYPE}, unless a comparison says otherwise",
        "allocator": allocator,
        "time": f"median of rounds in which the variants take turns in random order, after {WARM_UP} that is "
        "dropped",
        "ratio": "median of the ratios within each round; interval between order statistics, at least 95 %",
        "differs": "largest difference from results that have to be reproduced, by their largest entry",
        "memory": f"{unmeasurable() or MEMORY}; {GPU_MEMORY}" if options.memory else "left out",
        "peers": str(options.peers or "no folder given"),
        "quick": "tiny sizes: the figures mean nothing" if options.quick else "no",
    }


def _device(device: torch.device) -> str:
    """Return what the cases of the device run on; all others run on the processor."""
    if device.type == "cpu":
        return "the processor, as for all other cases"
    version = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    held = torch.cuda.get_device_properties(device).total_memory / 2**30
    named = f"{device_name(device)}, {held:.0f} GiB, {version}, {best_precision(device)}"
    return f"{named}, for the cases named device-...; every other case runs on the processor"


def _usable_cores() -> int:
    # Fewer than the machine has in a container or under a job scheduler.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (AttributeError, ValueError, OSError):  # no such call, or no such name, on this system
        return "memory unknown"


def _libraries() -> str:
    """Return which libraries torch multiplies matrices with."""
    found = {"MKL": torch.backends.mkl.is_available(), "oneDNN": torch.backends.mkldnn.is_available()}
    return ", ".join(name for name, there in found.items() if there) or "no library"
