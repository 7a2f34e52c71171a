"""Diffusion exponential integrator sampler, multistep (arXiv 2204.13902)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel
from triptych.errors import UserError
from triptych.sampling.multistep import Multistep, Seen, by_slopes, rho

Variable = Literal["log-rho", "rho"]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
"""Gauss-Legendre quadrature on [-1, 1]: exact to rounding for cubics times an exponential of a few units."""


@dataclass(frozen=True)
class DEIS(Multistep):
    """Integrate over rho the polynomial through the last slopes, the implied noises."""

    usual_steps = 10
    highest = 4

    order: int = 3
    """Slopes that a step extrapolates from, 1 to 4 (the paper's order is one less)."""
    variable: Variable = "log-rho"
    """What the slopes are a polynomial of: `log-rho`, or `rho`, which the paper calls rhoAB."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is out of range."""
        super().__post_init__()
        if self.variable not in get_args(Variable):
            raise UserError("sampler deis", f"variable {self.variable}", "choose log-rho or rho")

    def _moved(self, history: Sequence[Seen], s: NoiseLevel, noise: Callable[[], Tensor]) -> Tensor:
        """Return the images at level `s`."""
        weights = self._weights([float(rho(seen.level)) for seen in history], float(rho(s)))
        return by_slopes(history, s, weights)

    def _weights(self, seen: Sequence[float], end: float) -> list[float]:
        """Return the integrals over rho, from seen[0] to `end`, of the Lagrange polynomials of all others."""
        if len(seen) == 1:
            return []
        # Substituting w = log rho, d rho = rho dw, both variables are smooth in w.
        low, high = np.log(seen[0]), np.log(end)
        at = np.exp((high + low) / 2 + (high - low) / 2 * NODES)
        measure = (high - low) / 2 * WEIGHTS * at
        nodes, places = (np.log(seen), np.log(at)) if self.variable == "log-rho" else (np.array(seen), at)
        weights = []
        for j in range(1, len(nodes)):
            others = np.delete(nodes, j)
            basis = np.prod((places[:, None] - others) / (nodes[j] - others), axis=1)
            weights.append(float(measure @ basis))
        return weights
