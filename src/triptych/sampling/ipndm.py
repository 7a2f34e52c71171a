"""Improved pseudo numerical methods for diffusion models (arXiv 2204.13902, appendix; 2202.09778)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel
from triptych.sampling.multistep import Multistep, Seen, by_slopes, rho

ADAMS_BASHFORTH = (
    (),
    (-1 / 2,),
    (-16 / 12, 5 / 12),
    (-59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the slopes before the newest, by how many there are; with its own they sum to 1."""


@dataclass(frozen=True)
class IPNDM(Multistep):
    """Follow dy/d rho = eps by the Adams-Bashforth weights of a grid of equal steps.

    The first steps have as many slopes as there are. On grids whose steps change smoothly, as EDM's, its
    order is 2, however many slopes it has; at few steps it is good nonetheless.
    """

    usual_steps = 10
    highest = len(ADAMS_BASHFORTH)

    order: int = 4
    """Slopes that a step extrapolates from, 1 to 4; the first steps have fewer."""

    def _moved(self, history: Sequence[Seen], s: NoiseLevel, noise: Callable[[], Tensor]) -> Tensor:
        """Return the images at level `s`."""
        length = rho(s) - rho(history[0].level)
        return by_slopes(history, s, [length * weight for weight in ADAMS_BASHFORTH[len(history) - 1]])
