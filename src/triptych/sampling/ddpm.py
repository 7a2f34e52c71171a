"""Ancestral sampling of denoising diffusion probabilistic models (arXiv 2006.11239, algorithm 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel, along
from triptych.errors import UserError
from triptych.sampling.sampler import Denoise, NoiseSource, Sampler, SamplerState

Variance = Literal["small", "large"]


@dataclass(frozen=True)
class DDPM(Sampler):
    """Draw each next image from the posterior q(x_s | x_t, x_0) at the predicted x_0 (equation 7)."""

    usual_steps = 1000

    variance: Variance = "small"
    """`small` is the posterior's own, optimal for data at one point (beta-tilde);
    `large` is that of the forward step (beta), optimal for normal data (section 3.2)."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is none of its values."""
        if self.variance not in get_args(Variance):
            raise UserError("sampler ddpm", f"variance {self.variance}", "choose small or large")

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
        signal_kept = t.alpha / s.alpha
        noise_added = t.sigma**2 - signal_kept**2 * s.sigma**2  # variance of q(x_t | x_s)
        from_x = signal_kept * s.sigma**2 / t.sigma**2
        from_x0 = s.alpha * noise_added / t.sigma**2
        x = along(from_x, x0) * state.x + along(from_x0, x0) * x0
        if not s.is_data:
            variance = noise_added * s.sigma**2 / t.sigma**2 if self.variance == "small" else noise_added
            x = x + along(variance.sqrt(), x) * noise(i)
        return SamplerState(x), x0
