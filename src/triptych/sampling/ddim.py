"""Denoising diffusion implicit models (arXiv 2010.02502)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel, along
from triptych.errors import UserError
from triptych.sampling.sampler import Denoise, NoiseSource, Sampler, SamplerState, implied_noise


@dataclass(frozen=True)
class DDIM(Sampler):
    """Move along the line that the predicted x_0 and the noise it implies define (equation 12)."""

    usual_steps = 50

    eta: float = 0.0
    """0 is deterministic; 1 has the noise of DDPM's small variance (equation 16)."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is out of range."""
        if not 0 <= self.eta <= 1:
            raise UserError("sampler ddim", f"eta {self.eta}", "choose 0 <= eta <= 1")

    def step(
        self,
        state: SamplerState,
        i: int,
        levels: Sequence[NoiseLevel],
        denoise: Denoise,
        noise: NoiseSource,
    ) -> tuple[SamplerState, Tensor]:
        """Go from levels[i] to levels[i + 1]; return the new state and the x_0 predicted on the way."""
        t, s = levels[i], levels[i + 1]
        x0 = denoise(state.x, t)
        eps = implied_noise(state.x, x0, t)
        noise_added = t.sigma**2 - (t.alpha / s.alpha) ** 2 * s.sigma**2
        fresh = self.eta * (noise_added.sqrt() * s.sigma / t.sigma)  # standard deviation, equation 16
        kept = (s.sigma**2 - fresh**2).clamp(min=0).sqrt()
        x = along(s.alpha, x0) * x0 + along(kept, x0) * eps
        if self.eta > 0 and not s.is_data:
            x = x + along(fresh, x) * noise(i)
        return SamplerState(x), x0
