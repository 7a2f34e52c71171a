"""Training times: which noise levels training visits how often."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from triptych.diffusion.schedules import NoiseSchedule

Times = Callable[[Tensor, NoiseSchedule], Tensor]
"""From uniform numbers in [0, 1), [B], to the times of a schedule, float64 [B]."""

LOG_RHO_MEAN, LOG_RHO_DEVIATION = -1.2, 1.2
"""Of EDM's normal distribution of log rho, rho = sigma / alpha (arXiv 2206.00364, table 1)."""

HALF = 2.0**-25
"""Half the distance of two uniform numbers that are drawn, so that 0 is not turned into an infinite one."""


def uniform(u: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return times that are evenly spread, or the steps of a schedule that has some."""
    return schedule.training_time(u)


def logit_normal(u: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return times whose logit is standard normal: most in the middle (arXiv 2403.03206)."""
    return torch.sigmoid(_normal(u))


def log_normal(u: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return times at which noise per signal is log-normal: EDM's, and the skewed ones of flow matching."""
    return schedule.time(-2 * (LOG_RHO_MEAN + LOG_RHO_DEVIATION * _normal(u)))


def _normal(u: Tensor) -> Tensor:
    """Turn uniform numbers in [0, 1) into standard normal ones: float64."""
    return torch.special.ndtri(u.to(torch.float64) + HALF)


TIMES: dict[str, Times] = {
    "uniform": uniform,
    "logit-normal": logit_normal,
    "log-normal": log_normal,
}
"""Every distribution by the name that recipes use."""
