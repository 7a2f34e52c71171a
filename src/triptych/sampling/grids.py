"""Grids: at which times a sampler stops on its way from noise to data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from triptych.diffusion.schedules import NoiseSchedule
from triptych.errors import UserError

POWER = 7.0
"""The exponent rho of EDM's grid."""
NOISIEST = 80.0
"""Noise per signal from which images tell nothing of their signal: EDM's sigma_max. Cosine schedules and
flows go on far beyond it, where steps that are even in its logarithm would be wasted."""


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


def log_snr(steps: int, schedule: NoiseSchedule) -> Tensor:
    """Times of evenly spaced log-SNR, and then data (arXiv 2206.00927). float64 [n + 1]."""
    noisiest, cleanest = _ends(schedule)
    return _at(schedule, torch.linspace(noisiest.log(), cleanest.log(), steps, dtype=torch.float64).exp())


def karras(steps: int, schedule: NoiseSchedule) -> Tensor:
    """Times of evenly spaced rho^(1/7), rho = sigma / alpha, and then data (arXiv 2206.00364, equation 5).

    Their steps are the shorter, the less noise there is. float64 [n + 1].
    """
    noisiest, cleanest = (end ** (1 / POWER) for end in _ends(schedule))
    return _at(schedule, torch.linspace(noisiest, cleanest, steps, dtype=torch.float64) ** POWER)


def _ends(schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """Return the most and the least noise per signal, float64 [], with which such a grid begins and ends."""
    first, last = (schedule.level(torch.tensor(t, dtype=torch.float64)) for t in (1.0, 1 / schedule.steps))
    return (first.sigma / first.alpha).clamp(max=NOISIEST), last.sigma / last.alpha


def _at(schedule: NoiseSchedule, rho: Tensor) -> Tensor:
    """Return the times of levels with so much noise per signal, and that of data after them."""
    return torch.cat([schedule.time(-2 * rho.log()), torch.zeros(1, dtype=torch.float64)])


GRIDS: dict[str, Callable[[int, NoiseSchedule], Tensor]] = {
    "trailing": trailing,
    "leading": leading,
    "log-snr": log_snr,
    "karras": karras,
}
"""Every grid by the name that recipes use: (number of steps, schedule) -> times, descending to 0."""
