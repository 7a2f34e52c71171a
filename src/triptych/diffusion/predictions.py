"""What a network's output means, and how a prediction of x_0 is read from it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from triptych.diffusion.noise_level import SIGMA_DATA, NoiseLevel, along


class Prediction(Protocol):
    """The quantity that the network predicts from x_t."""

    def to_x0(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return the x_0 [B, ...] that the output [B, ...] implies for noisy images x [B, ...]."""
        ...

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """Return what the output should be, [B, ...], for images x0 and noise eps [B, ...]."""
        ...

    def gain(self, level: NoiseLevel) -> Tensor:
        """Return the output's squared error per squared error of the x_0 read from it: of level's shape."""
        ...

    def defined(self, level: NoiseLevel) -> Tensor:
        """Return at which levels x_0 can be read from it: bool, of level's shape."""
        ...


class EpsPrediction:
    """The noise (DDPM, arXiv 2006.11239, equation 14). Undefined where no signal is left (alpha = 0)."""

    def to_x0(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
        """Solve x = alpha x_0 + sigma eps for x_0.

        Raises:
            ValueError: at a level without signal, where x_0 cannot be read from the noise.
        """
        if bool((level.alpha == 0).any()):
            raise ValueError(
                "x_0 cannot be read from predicted noise where alpha = 0; predict v or x0 instead"
            )
        return x * along(1 / level.alpha, x) - output * along(level.sigma / level.alpha, x)

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """Return eps."""
        return eps

    def gain(self, level: NoiseLevel) -> Tensor:
        """Return alpha^2 / sigma^2, the signal-to-noise ratio."""
        return (level.alpha / level.sigma) ** 2

    def defined(self, level: NoiseLevel) -> Tensor:
        """Return where there is signal."""
        return level.alpha > 0


class X0Prediction:
    """The clean image itself."""

    def to_x0(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return the output."""
        return output

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """Return x_0."""
        return x0

    def gain(self, level: NoiseLevel) -> Tensor:
        """Return 1."""
        return torch.ones_like(level.alpha)

    def defined(self, level: NoiseLevel) -> Tensor:
        """Return that it can everywhere."""
        return torch.ones_like(level.alpha, dtype=torch.bool)


class VPrediction:
    """v = alpha eps - sigma x_0 (arXiv 2202.00512, appendix D), for levels with alpha^2 + sigma^2 = 1."""

    def to_x0(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return x_0 = alpha x - sigma v."""
        return along(level.alpha, x) * x - along(level.sigma, x) * output

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """Return v = alpha eps - sigma x_0."""
        return along(level.alpha, eps) * eps - along(level.sigma, x0) * x0

    def gain(self, level: NoiseLevel) -> Tensor:
        """Return 1 / sigma^2."""
        return level.sigma**-2

    def defined(self, level: NoiseLevel) -> Tensor:
        """Return where alpha^2 + sigma^2 = 1."""
        return (torch.hypot(level.alpha, level.sigma) - 1).abs() < 1e-9


class VelocityPrediction:
    """eps - x_0, along which the straight path of flow matching moves (arXiv 2209.03003)."""

    def to_x0(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return x_0 = (x - sigma u) / (alpha + sigma)."""
        return along(1 / (level.alpha + level.sigma), x) * (x - along(level.sigma, x) * output)

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """Return eps - x_0."""
        return eps - x0

    def gain(self, level: NoiseLevel) -> Tensor:
        """Return ((alpha + sigma) / sigma)^2."""
        return (1 + level.alpha / level.sigma) ** 2

    def defined(self, level: NoiseLevel) -> Tensor:
        """Return that it can everywhere."""
        return torch.ones_like(level.alpha, dtype=torch.bool)


class EDMPrediction:
    """What EDM's network adds to its skip connection, scaled to unit variance (arXiv 2206.00364, equation 7).

    x_0 = c_skip y + c_out F, where y = x / alpha has noise of deviation rho = sigma / alpha on full signal.
    Written in alpha and sigma, it is defined without signal as well.
    """

    def to_x0(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return c_skip y + c_out F."""
        skip, out = self._coefficients(level)
        return along(skip, x) * x + along(out, x) * output

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """Return (x_0 - c_skip y) / c_out."""
        skip, out = self._coefficients(level)
        clean = (1 - skip * level.alpha) / out  # = sigma / (sigma_data |(sigma, alpha sigma_data)|)
        return along(clean, x0) * x0 - along(skip * level.sigma / out, eps) * eps

    def gain(self, level: NoiseLevel) -> Tensor:
        """Return 1 / c_out^2, EDM's weight of the error of x_0."""
        return self._coefficients(level)[1] ** -2

    def defined(self, level: NoiseLevel) -> Tensor:
        """Return that it can everywhere."""
        return torch.ones_like(level.alpha, dtype=torch.bool)

    @staticmethod
    def _coefficients(level: NoiseLevel) -> tuple[Tensor, Tensor]:
        """Return c_skip / alpha and c_out."""
        total = torch.hypot(level.sigma, level.alpha * SIGMA_DATA)
        return level.alpha * (SIGMA_DATA / total) ** 2, level.sigma * SIGMA_DATA / total


PREDICTIONS: dict[str, Prediction] = {
    "eps": EpsPrediction(),
    "x0": X0Prediction(),
    "v": VPrediction(),
    "velocity": VelocityPrediction(),
    "edm": EDMPrediction(),
}
"""Every prediction by the name that recipes use."""
