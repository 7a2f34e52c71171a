"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from triptych.diffusion.noise_level import SIGMA_DATA, NoiseLevel, add_noise, along
from triptych.diffusion.predictions import Prediction
from triptych.diffusion.schedules import NoiseSchedule
from triptych.diffusion.times import Times, uniform
from triptych.precision import at_least_float32

Weight = Callable[[NoiseLevel, float], Tensor]
"""From levels [B] and the share of training done to the weights [B] of squared errors of x_0."""

GAMMA = 5.0
"""Where min-SNR cuts its weight, and where FDM's bound begins."""
GROWTH = 0.2
"""Share of training over which FDM's bound grows."""


class Predictor(Protocol):
    """The part of a denoiser that an objective needs: its network's raw output, and what it means."""

    schedule: NoiseSchedule
    prediction: Prediction

    def output(self, x: Tensor, t: Tensor, class_label: Tensor | None) -> Tensor:
        """Return the network's output [B, ...] for noisy images x [B, ...] at times t [B]."""
        ...


class Objective(Protocol):
    """A loss for every image of a batch, and the times at which it is measured."""

    @property
    def times(self) -> Times:
        """Which levels are visited how often."""
        ...

    def loss(
        self,
        denoiser: Predictor,
        x0: Tensor,
        eps: Tensor,
        t: Tensor,
        class_label: Tensor | None,
        progress: float,
    ) -> Tensor:
        """Return the loss of each image, float32 [B].

        Args:
            denoiser: what is trained.
            x0: clean images [B, C, H, W] in [-1, 1].
            eps: standard normal noise of the same shape.
            t: times, float64 [B] on the host.
            class_label: int64 [B], the null class where the label was dropped; None: unconditional.
            progress: share of training done, in [0, 1], for losses that change on the way.
        """
        ...


@dataclass(frozen=True)
class PredictionMSE:
    """Weighted mean squared error of the network's own quantity.

    A weight is said as that of the error of x_0, which the papers' weights differ from by what their networks
    predict; it is turned into one for the quantity at hand, so that each can be combined with any prediction.

    Attributes:
        weight: of the squared error of x_0 at levels [B], by the share of training done; None: whatever gives
            the quantity's own error the weight 1, as in DDPM's simple loss (arXiv 2006.11239, equation 14).
        times: which levels are visited how often.
    """

    weight: Weight | None = None
    times: Times = uniform

    def loss(
        self,
        denoiser: Predictor,
        x0: Tensor,
        eps: Tensor,
        t: Tensor,
        class_label: Tensor | None,
        progress: float,
    ) -> Tensor:
        """Return the weighted mean over pixels of |output - target|^2, float32 [B]."""
        level: NoiseLevel = denoiser.schedule.level(t)
        output = denoiser.output(add_noise(x0, eps, level), t, class_label)
        target = denoiser.prediction.target(x0, eps, level)
        error = (at_least_float32(output) - target).square().flatten(1).mean(1)
        if self.weight is None:
            return error
        return along(self.weight(level, progress) / denoiser.prediction.gain(level), error) * error


def snr(level: NoiseLevel) -> Tensor:
    """Return alpha^2 / sigma^2."""
    return (level.alpha / level.sigma) ** 2


def min_snr(level: NoiseLevel, progress: float) -> Tensor:
    """Return min(SNR, 5) (arXiv 2303.09556)."""
    return snr(level).clamp(max=GAMMA)


def soft_min_snr(level: NoiseLevel, progress: float) -> Tensor:
    """Return SNR 5 / (SNR + 5), the same without a corner (arXiv 2401.11605)."""
    return snr(level) * GAMMA / (snr(level) + GAMMA)


def p2(level: NoiseLevel, progress: float) -> Tensor:
    """Return SNR / (1 + SNR): of the error of eps 1 / (k + SNR)^gamma, k = gamma = 1 (arXiv 2204.00227)."""
    return snr(level) / (1 + snr(level))


def edm(level: NoiseLevel, progress: float) -> Tensor:
    """Return (rho^2 + 0.5^2) / (0.5 rho)^2, rho = sigma / alpha (arXiv 2206.00364, table 1)."""
    return snr(level) + SIGMA_DATA**-2


def fdm(level: NoiseLevel, progress: float) -> Tensor:
    """Return EDM's weight, at most 5 in the beginning, a bound that grows a hundredfold (arXiv 2306.06991).

    Exponentially, over the first `GROWTH` of training, a share of our choice; then there is none.
    """
    weight = edm(level, progress)
    return weight if progress >= GROWTH else weight.clamp(max=GAMMA * 100 ** (progress / GROWTH))


WEIGHTS: dict[str, Weight | None] = {
    "mse": None,
    "min-snr": min_snr,
    "soft-min-snr": soft_min_snr,
    "p2": p2,
    "edm": edm,
    "fdm": fdm,
}
"""Every weight by the name that recipes give to the objective that has it."""
