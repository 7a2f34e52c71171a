"""Which operations of torch the time of a call goes to."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import ProfilerActivity, profile

from benchmarks.comparison import CPU
from triptych.devices import synchronize

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would tell on the screen that it begins

MOST = 8
"""Operations that are told by name; the rest is `others`."""
OTHERS = "others"


def shares_of(call: Callable[[], object], device: torch.device = CPU) -> dict[str, float]:
    """Return the share of each operation in the time that all of them take by themselves, the largest first.

    What Python does between them is part of none. Of a GPU they are its kernels, whoever started them.
    """
    if device.type != "cuda":
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            call()
        return shares(list(watched.key_averages()), lambda event: event.self_cpu_time_total)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
        call()
        synchronize(device)
    # Operations are told the time of their kernels as well: counted with these it would count twice.
    kernels = [event for event in watched.key_averages() if event.device_type == DeviceType.CUDA]
    return shares(kernels, lambda event: event.self_device_time_total)


def shares(events: list[FunctionEventAvg], time_of: Callable[[FunctionEventAvg], float]) -> dict[str, float]:
    """Return the shares of events that were watched in the time that all of them took."""
    total = sum(map(time_of, events))
    if not total:  # a system that lets nobody watch its GPU
        return {}
    times: dict[str, float] = {}
    for event in events:  # of which two may have one name
        name = str(event.key).removeprefix("aten::")
        times[name] = times.get(name, 0.0) + time_of(event)
    ranked = sorted(times.items(), key=lambda entry: entry[1], reverse=True)
    found = {name: time / total for name, time in ranked[:MOST]}
    rest = sum(time for _, time in ranked[MOST:]) / total
    return {**found, OTHERS: rest} if rest else found
