"""Noise schedules: which noise level stands at which time.

Time t runs over [0, 1]; t = 0 is data. The 1,000 steps k = 0..999 of DDPM stand at t = (k+1)/1000,
so that k = 0, whose images are slightly noisy, is not mistaken for data.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel


class NoiseSchedule(Protocol):
    """A monotone map from time to noise level, its inverse, and what the network is told of it."""

    steps: int
    """How many discrete levels it was made with, for the grids that count in them."""

    def level(self, t: Tensor) -> NoiseLevel:
        """Return the noise level at t, float64 [] or [B] in [0, 1]."""
        ...

    def time(self, log_snr: Tensor) -> Tensor:
        """Return the t, float64, at which the log signal-to-noise ratio is `log_snr`."""
        ...

    def label(self, t: Tensor) -> Tensor:
        """Return the number by which the network is told t: float32, of t's shape."""
        ...

    def training_time(self, uniform: Tensor) -> Tensor:
        """Turn uniform numbers in [0, 1) into the times that training visits: float64."""
        ...


class VariancePreservingSteps:
    """A discrete variance-preserving schedule, alpha^2 + sigma^2 = 1, continued between its steps.

    Between steps log alpha^2 is linear in t. At a step the level is the product of (1 - beta_j), and
    the label is k, as in DDPM; levels between steps get labels between integers.

    Args:
        betas: float64 [K], each in (0, 1): the variance that each step adds.
    """

    def __init__(self, betas: Tensor):
        self.steps = len(betas)
        log_alpha2 = torch.log1p(-betas.to(torch.float64)).cumsum(0)
        self.log_alpha2 = torch.cat([torch.zeros(1, dtype=torch.float64), log_alpha2])

    def level(self, t: Tensor) -> NoiseLevel:
        """Return the noise level at t, float64 [] or [B] in [0, 1]."""
        position = t.to(torch.float64) * self.steps
        # A time such as 0.29 * 1000 / 1000 must fall on its step, not a rounding error beside it.
        position = torch.where((position - position.round()).abs() < 1e-9, position.round(), position)
        below = position.floor().clamp(0, self.steps - 1).long()
        fraction = position - below
        log_alpha2 = torch.lerp(self.log_alpha2[below], self.log_alpha2[below + 1], fraction)
        return NoiseLevel((log_alpha2 / 2).exp(), (-torch.expm1(log_alpha2)).sqrt())

    def time(self, log_snr: Tensor) -> Tensor:
        """Return the t, float64, at which the log signal-to-noise ratio is `log_snr`."""
        log_alpha2 = torch.nn.functional.logsigmoid(log_snr.to(torch.float64))
        above = torch.searchsorted(-self.log_alpha2, -log_alpha2).clamp(1, self.steps)
        start, end = self.log_alpha2[above - 1], self.log_alpha2[above]
        return ((above - 1 + (log_alpha2 - start) / (end - start)) / self.steps).clamp(0.0, 1.0)

    def label(self, t: Tensor) -> Tensor:
        """Return DDPM's step number k = 1000 t - 1: float32, of t's shape."""
        return (t * self.steps - 1.0).to(torch.float32)

    def training_time(self, uniform: Tensor) -> Tensor:
        """Turn uniform numbers in [0, 1) into the times of the steps: float64."""
        return ((uniform.to(torch.float64) * self.steps).floor() + 1.0) / self.steps


def linear(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> VariancePreservingSteps:
    """DDPM's schedule: betas rise linearly from 1e-4 to 0.02 (arXiv 2006.11239, section 4)."""
    return VariancePreservingSteps(torch.linspace(first, last, steps, dtype=torch.float64))


def cosine(steps: int = 1000, offset: float = 0.008, largest: float = 0.999) -> VariancePreservingSteps:
    """The cosine schedule of improved DDPM, betas capped at 0.999 (arXiv 2102.09672, equation 17)."""
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    alpha2 = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return VariancePreservingSteps((1 - alpha2[1:] / alpha2[:-1]).clamp(max=largest))


SCHEDULES = {"linear": linear, "cosine": cosine}
"""Every schedule by the name that recipes use."""
