"""Grids: at which times a sampler stops on its way from noise to data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from triptych.diffusion.schedules import NoiseSchedule
from triptych.errors import UserError


def trailing(steps: int, schedule: NoiseSchedule) -> Tensor:
    """Times 1, 1 - 1/n, ..., 1/n, 0: begins at pure noise (arXiv 2305.08891, table 2). float64 [n + 1]."""
    return torch.arange(steps, -1, -1, dtype=torch.float64) / steps


def leading(steps: int, schedule: NoiseSchedule) -> Tensor:
    """DDIM's own grid: steps k = 0, c, 2c, ... of the schedule's K, where c = K // n.

    Begins below pure noise; the last step goes from k = 0 to data. float64 [n + 1].
    """
    if steps > schedule.steps:
        raise UserError(
            f"{steps} steps with leading spacing",
            f"the schedule has {schedule.steps}",
            "take fewer, or trailing spacing",
        )
    k = torch.arange(steps - 1, -1, -1, dtype=torch.float64) * (schedule.steps // steps)
    return torch.cat([(k + 1) / schedule.steps, torch.zeros(1, dtype=torch.float64)])


GRIDS: dict[str, Callable[[int, NoiseSchedule], Tensor]] = {"trailing": trailing, "leading": leading}
"""Every grid by the name that recipes use: (number of steps, schedule) -> times from 1 down to 0.

A grid that is even in another quantity than time asks the schedule: `schedule.time(log_snr)`.
"""
