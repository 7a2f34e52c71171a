"""What a network's output means, and how a prediction of x_0 is read from it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel, along


class Prediction(Protocol):
    """The quantity that the network predicts from x_t."""

    def to_x0(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return the x_0 [B, ...] that the output [B, ...] implies for noisy images x [B, ...]."""
        ...

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """Return what the output should be, [B, ...], for images x0 and noise eps [B, ...]."""
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


class X0Prediction:
    """The clean image itself."""

    def to_x0(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return the output."""
        return output

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """Return x_0."""
        return x0


class VPrediction:
    """v = alpha eps - sigma x_0 (arXiv 2202.00512, appendix D), for levels with alpha^2 + sigma^2 = 1."""

    def to_x0(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return x_0 = alpha x - sigma v."""
        return along(level.alpha, x) * x - along(level.sigma, x) * output

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """Return v = alpha eps - sigma x_0."""
        return along(level.alpha, eps) * eps - along(level.sigma, x0) * x0


PREDICTIONS: dict[str, Prediction] = {"eps": EpsPrediction(), "x0": X0Prediction(), "v": VPrediction()}
"""Every prediction by the name that recipes use."""
