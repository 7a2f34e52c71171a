"""Which operations of torch the time of a call goes to."""

from __future__ import annotations

import os
from collections.abc import Callable

from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import ProfilerActivity, profile

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would tell on the screen that it begins

MOST = 8
"""Operations that are told by name; the rest is `others`."""
OTHERS = "others"


def shares_of(call: Callable[[], object]) -> dict[str, float]:
    """Return the share of each operation in the time that all of them take by themselves, the largest first.

    What Python does between them is part of none.
    """
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        call()
    return shares(list(watched.key_averages()))


def shares(events: list[FunctionEventAvg]) -> dict[str, float]:
    """Return the shares of events that were watched."""
    total = sum(event.self_cpu_time_total for event in events)
    ranked = sorted(events, key=lambda event: event.self_cpu_time_total, reverse=True)
    found = {
        str(event.key).removeprefix("aten::"): event.self_cpu_time_total / total for event in ranked[:MOST]
    }
    rest = sum(event.self_cpu_time_total for event in ranked[MOST:]) / total
    return {**found, OTHERS: rest} if rest else found
