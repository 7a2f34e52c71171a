"""DPM-Solver++ (arXiv 2211.01095): multistep, of order 1 to 3, deterministic or stochastic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel, along
from triptych.errors import UserError
from triptych.sampling.multistep import Multistep, Seen, straight


@dataclass(frozen=True)
class DPMSolver(Multistep):
    """Integrate a polynomial through the last predictions of x_0 along lambda, half the log-SNR.

    Of order 2 it is the paper's 2M (algorithm 2); with `eta` 1 its SDE form. Of order 3 the
    polynomial is integrated exactly: published implementations have half of its last term, and order 2.
    """

    usual_steps = 20
    highest = 3

    order: int = 2
    """Predictions that a step extrapolates from, 1 to 3; the first steps have fewer."""
    eta: float = 0.0
    """0 follows the probability-flow ODE, 1 the reverse SDE."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is out of range."""
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise UserError("sampler dpm++", f"eta {self.eta}", "choose 0 <= eta <= 1")

    def _moved(self, history: Sequence[Seen], s: NoiseLevel, noise: Callable[[], Tensor]) -> Tensor:
        """Return the images at level `s`."""
        t, x, x0 = history[0]
        h = (s.log_snr - t.log_snr) / 2
        if self.eta == 0:
            moved = straight(history[0], s)
        else:
            moved = along((-self.eta * h).exp() * s.sigma / t.sigma, x) * x
            moved = moved - along(s.alpha * (-(1 + self.eta) * h).expm1(), x0) * x0
            moved = moved + along(s.sigma * (-(-2 * self.eta * h).expm1()).sqrt(), x) * noise()
        for weight, term in bends(history, h, (1 + self.eta) * h):
            moved = moved + along(s.alpha * weight, x) * term
        return moved


def bends(history: Sequence[Seen], h: Tensor, drift: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the terms by which a step differs from one with a constant x_0: weights [] and images.

    Args:
        history: one to three predictions, the newest first.
        h: the step's length in lambda.
        drift: the exponent of the solution's integrating factor over the step, (1 + eta) h.
    """
    if len(history) == 1:
        return []
    # Divided differences over u = (lambda - lambda_t) / h: the newest is at 0, the step ends at 1.
    gaps = [(a.level.log_snr - b.level.log_snr) / (2 * h) for a, b in pairwise(history)]
    slopes = [
        along(1 / gap, a.x0) * (a.x0 - b.x0) for gap, (a, b) in zip(gaps, pairwise(history), strict=True)
    ]
    if len(history) == 2:
        return [(-(-drift).expm1() / 2, slopes[0])]  # as if the step were short, which is the paper's choice
    curve = along(1 / (gaps[0] + gaps[1]), slopes[0]) * (slopes[0] - slopes[1])
    linear = 1 + (-drift).expm1() / drift  # the mean of u over the step, in the measure of the solution
    square = 1 - 2 * linear / drift  # that of u^2
    return [(linear, slopes[0] + along(gaps[0], curve) * curve), (square, curve)]
