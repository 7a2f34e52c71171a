"""Improved pseudo numerical methods for diffusion models (arXiv 2204.13902, appendix; 2202.09778)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel
from triptych.errors import UserError
from triptych.sampling.multistep import Seen, by_slopes, rho, with_signal
from triptych.sampling.sampler import Denoise, NoiseSource, Sampler, SamplerState

ADAMS_BASHFORTH = (
    (),
    (-1 / 2,),
    (-16 / 12, 5 / 12),
    (-59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the slopes before the newest, by how many there are; with its own they sum to 1."""


@dataclass(frozen=True)
class IPNDM(Sampler):
    """Follow dy/d rho = eps by the Adams-Bashforth weights of a grid of equal steps.

    The first steps have as many slopes as there are. On grids whose steps change smoothly, as EDM's, its
    order is 2, however many slopes it has; at few steps it is good nonetheless.
    """

    usual_steps = 10

    order: int = 4
    """Slopes that a step extrapolates from, 1 to 4. The first steps have fewer, and the last has one."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is out of range."""
        if self.order not in (1, 2, 3, 4):
            raise UserError("sampler ipndm", f"order {self.order}", "choose 1, 2, 3 or 4")

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
        history = (Seen(t, state.x, denoise(state.x, t)), *state.history)[: self.order]
        x0 = history[0].x0
        if s.is_data:
            return SamplerState(x0, history), x0
        known = with_signal(history)
        length = rho(s) - rho(t) if len(known) > 1 else rho(s)
        weights = [length * weight for weight in ADAMS_BASHFORTH[len(known) - 1]]
        return SamplerState(by_slopes(known, s, weights), history), x0
