"""Noise schedules: which noise level stands at which time.

Time t runs over [0, 1]; t = 0 is data. The 1,000 steps k = 0..999 of DDPM stand at t = (k+1)/1000,
so that k = 0, whose images are slightly noisy, is not mistaken for data. Schedules without steps are labelled
alike, and grids take t = 1/1000 for the least noise that they have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from triptych.diffusion.noise_level import SIGMA_DATA, NoiseLevel


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


class _Steps:
    """What discrete schedules share: how their steps are labelled, and that training visits nothing else."""

    steps: int

    def label(self, t: Tensor) -> Tensor:
        """Return DDPM's step number k = 1000 t - 1: float32, of t's shape."""
        return (t * self.steps - 1.0).to(torch.float32)

    def training_time(self, uniform: Tensor) -> Tensor:
        """Turn uniform numbers in [0, 1) into the times of the steps: float64."""
        return ((uniform.to(torch.float64) * self.steps).floor() + 1.0) / self.steps

    def _place(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return between which steps t lies, as the number of the one before, int64, and how far, float64."""
        position = t.to(torch.float64) * self.steps
        # A time such as 0.29 * 1000 / 1000 must fall on its step, not a rounding error beside it.
        position = torch.where((position - position.round()).abs() < 1e-9, position.round(), position)
        below = position.floor().clamp(0, self.steps - 1).long()
        return below, position - below

    def _time(self, falling: Tensor, value: Tensor) -> Tensor:
        """Return the t at which a quantity, known at steps and linear between them, falls to `value`."""
        above = torch.searchsorted(-falling, -value).clamp(1, self.steps)
        start, end = falling[above - 1], falling[above]
        return ((above - 1 + (value - start) / (end - start)) / self.steps).clamp(0.0, 1.0)


class VariancePreservingSteps(_Steps):
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
        below, fraction = self._place(t)
        log_alpha2 = torch.lerp(self.log_alpha2[below], self.log_alpha2[below + 1], fraction)
        return NoiseLevel((log_alpha2 / 2).exp(), (-torch.expm1(log_alpha2)).sqrt())

    def time(self, log_snr: Tensor) -> Tensor:
        """Return the t, float64, at which the log signal-to-noise ratio is `log_snr`."""
        return self._time(self.log_alpha2, torch.nn.functional.logsigmoid(log_snr.to(torch.float64)))


class ZeroTerminalSteps(_Steps):
    """A discrete variance-preserving schedule rescaled so that its last step has no signal left.

    All alphas are shifted, so that the last is 0, and scaled, so that the first stays (arXiv 2305.08891,
    algorithm 1). Between steps alpha is linear in t.

    Args:
        base: the schedule that is rescaled.
    """

    def __init__(self, base: VariancePreservingSteps):
        self.steps = base.steps
        alpha = (base.log_alpha2[1:] / 2).exp()
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        self.alpha = torch.cat([torch.ones(1, dtype=torch.float64), alpha])

    def level(self, t: Tensor) -> NoiseLevel:
        """Return the noise level at t, float64 [] or [B] in [0, 1]."""
        below, fraction = self._place(t)
        alpha = torch.lerp(self.alpha[below], self.alpha[below + 1], fraction)
        return NoiseLevel(alpha, ((1 - alpha) * (1 + alpha)).sqrt())

    def time(self, log_snr: Tensor) -> Tensor:
        """Return the t, float64, at which the log signal-to-noise ratio is `log_snr`."""
        return self._time(self.alpha, torch.sigmoid(log_snr.to(torch.float64)).sqrt())


class _Continuous:
    """What schedules without steps share: labels as if there were 1,000; training visits all times."""

    steps = 1000

    def label(self, t: Tensor) -> Tensor:
        """Return 1000 t - 1, the number of the step that would stand at t: float32, of t's shape."""
        return (t * self.steps - 1.0).to(torch.float32)

    def training_time(self, uniform: Tensor) -> Tensor:
        """Turn uniform numbers in [0, 1) into times in (0, 1]: float64."""
        return 1.0 - uniform.to(torch.float64)


class ContinuousLinear(_Continuous):
    """The variance-preserving SDE whose beta rises linearly from 0.1 to 20 (arXiv 2011.13456)."""

    first, last = 0.1, 20.0

    def level(self, t: Tensor) -> NoiseLevel:
        """Return the noise level at t, float64 [] or [B] in [0, 1]."""
        t = t.to(torch.float64)
        log_alpha2 = -t * (self.first + t * (self.last - self.first) / 2)
        return NoiseLevel((log_alpha2 / 2).exp(), (-torch.expm1(log_alpha2)).sqrt())

    def time(self, log_snr: Tensor) -> Tensor:
        """Return the t, float64, at which the log signal-to-noise ratio is `log_snr`."""
        integral = torch.nn.functional.softplus(-log_snr.to(torch.float64))  # of beta from 0 to t
        root = (self.first**2 + 2 * (self.last - self.first) * integral).sqrt()
        return (2 * integral / (self.first + root)).clamp(0.0, 1.0)


class RectifiedFlow(_Continuous):
    """The straight path, alpha = 1 - t, sigma = t (arXiv 2209.03003; 2210.02747). It ends without signal."""

    def level(self, t: Tensor) -> NoiseLevel:
        """Return the noise level at t, float64 [] or [B] in [0, 1]."""
        t = t.to(torch.float64)
        return NoiseLevel(1 - t, t)

    def time(self, log_snr: Tensor) -> Tensor:
        """Return the t, float64, at which the log signal-to-noise ratio is `log_snr`."""
        return torch.sigmoid(-log_snr.to(torch.float64) / 2)


class UnitVariance(_Continuous):
    """EDM's levels, rho = sigma / alpha from 0.002 to 80, seen as its network sees them (arXiv 2206.00364).

    Images x_0 + rho eps are scaled to unit variance by c_in = 1 / sqrt(rho^2 + 0.5^2), 0.5 being about the
    deviation of images: that is alpha. The logarithm of rho, and so EDM's c_noise, is linear in t from
    t = 1/1000 on; before, rho itself is, down to data, whose alpha is 1.
    """

    cleanest, noisiest = 0.002, 80.0

    def level(self, t: Tensor) -> NoiseLevel:
        """Return the noise level at t, float64 [] or [B] in [0, 1]."""
        t = t.to(torch.float64)
        share = (t * self.steps - 1) / (self.steps - 1)
        rho = self.cleanest * (math.log(self.noisiest / self.cleanest) * share).exp()
        rho = torch.where(share < 0, self.cleanest * t * self.steps, rho)
        alpha = torch.where(t == 0, 1.0, (rho**2 + SIGMA_DATA**2).rsqrt())
        return NoiseLevel(alpha, rho * alpha)

    def time(self, log_snr: Tensor) -> Tensor:
        """Return the t, float64, at which the log signal-to-noise ratio is `log_snr`."""
        rho = (-log_snr.to(torch.float64) / 2).exp()
        share = (rho / self.cleanest).log() / math.log(self.noisiest / self.cleanest)
        later = (1 + share * (self.steps - 1)) / self.steps
        return torch.where(share < 0, rho / self.cleanest / self.steps, later).clamp(0.0, 1.0)


def linear(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> VariancePreservingSteps:
    """DDPM's schedule: betas rise linearly from 1e-4 to 0.02 (arXiv 2006.11239, section 4)."""
    return VariancePreservingSteps(torch.linspace(first, last, steps, dtype=torch.float64))


def cosine(steps: int = 1000, offset: float = 0.008, largest: float = 0.999) -> VariancePreservingSteps:
    """The cosine schedule of improved DDPM, betas capped at 0.999 (arXiv 2102.09672, equation 17)."""
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    alpha2 = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return VariancePreservingSteps((1 - alpha2[1:] / alpha2[:-1]).clamp(max=largest))


SCHEDULES: dict[str, Callable[[], NoiseSchedule]] = {
    "linear": linear,
    "linear-continuous": ContinuousLinear,
    "linear-zero": lambda: ZeroTerminalSteps(linear()),
    "cosine": cosine,
    "cosine-zero": lambda: ZeroTerminalSteps(cosine()),
    "flow": RectifiedFlow,
    "edm": UnitVariance,
}
"""Every schedule by the name that recipes use."""
