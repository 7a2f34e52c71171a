"""Euler's and Heun's methods with churn (EDM, arXiv 2206.00364, algorithms 1 and 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel, along
from triptych.errors import UserError
from triptych.sampling.multistep import Seen, rho, straight
from triptych.sampling.sampler import Denoise, NoiseSource, Sampler, SamplerState, implied_noise


@dataclass(frozen=True)
class Euler(Sampler):
    """Follow dy/d rho = eps, y = x / alpha and rho = sigma / alpha, by its slope at the start of a step.

    Without churn that is DDIM with eta 0. With it, a step begins by adding noise, so that errors of earlier
    ones are forgotten.
    """

    usual_steps = 50

    churn: float = 0.0
    """S_churn: how much noise all steps together add; each raises rho by churn / steps, at most 41 %."""
    churn_from: float = 0.0
    """S_min: the lowest rho at which noise is added."""
    churn_to: float = math.inf
    """S_max: the highest."""
    churn_noise: float = 1.0
    """S_noise: standard deviation of the noise, in units of what would be exact."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is out of range."""
        for name, value in asdict(self).items():
            if not value >= 0:
                sampler = type(self).__name__.lower()
                raise UserError(f"sampler {sampler}", f"{name} {value}", "choose 0 or more")

    def step(
        self,
        state: SamplerState,
        i: int,
        levels: Sequence[NoiseLevel],
        denoise: Denoise,
        noise: NoiseSource,
    ) -> tuple[SamplerState, Tensor]:
        """Go from levels[i] to levels[i + 1]; return the new state and the x_0 predicted on the way."""
        x, t = self._churned(state.x, i, levels, noise)
        seen = Seen(t, x, denoise(x, t))
        return SamplerState(self._moved(seen, levels[i + 1], denoise)), seen.x0

    def _moved(self, seen: Seen, s: NoiseLevel, denoise: Denoise) -> Tensor:
        return straight(seen, s)

    def _churned(
        self, x: Tensor, i: int, levels: Sequence[NoiseLevel], noise: NoiseSource
    ) -> tuple[Tensor, NoiseLevel]:
        """Return the images after noise was added to them, and their level."""
        t = levels[i]
        noise_per_signal = float(rho(t))
        inside = self.churn_from <= noise_per_signal <= self.churn_to
        if self.churn == 0 or not inside or math.isinf(noise_per_signal):
            return x, t
        growth = 1 + min(self.churn / (len(levels) - 1), math.sqrt(2) - 1)
        added = t.sigma * math.sqrt(growth**2 - 1) * self.churn_noise
        return x + along(added, x) * noise(i), NoiseLevel(t.alpha, t.sigma * growth)


@dataclass(frozen=True)
class Heun(Euler):
    """Follow the same path by the mean of the slopes at both ends: order 2, for two evaluations a step.

    The last step, to data, and one from pure noise have Euler's slope alone.
    """

    usual_steps = 18
    calls_per_step = 2

    def _moved(self, seen: Seen, s: NoiseLevel, denoise: Denoise) -> Tensor:
        t, x = seen.level, straight(seen, s)
        if s.is_data or float(t.alpha) == 0:
            return x
        before, after = implied_noise(seen.x, seen.x0, t), implied_noise(x, denoise(x, s), s)
        # x = alpha_s (y_t + (rho_s - rho_t) slope)
        return x + along(s.alpha * (rho(s) - rho(t)) / 2, x) * (after - before)
