"""How much signal and how much noise a noisy image holds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from triptych.devices import send

SIGMA_DATA = 0.5
"""About the standard deviation of images in [-1, 1], as EDM takes it (arXiv 2206.00364, table 1)."""


class NoiseLevel(NamedTuple):
    """The coefficients of x_t = alpha x_0 + sigma eps.

    Both are float64 on the host: [] while sampling, [B] while training. Only their products with
    images are rounded to the images' precision and moved to the images' device.
    """

    alpha: Tensor
    sigma: Tensor

    @property
    def log_snr(self) -> Tensor:
        """log(alpha^2 / sigma^2): +inf for data, -inf for pure noise."""
        return 2.0 * (self.alpha.log() - self.sigma.log())

    @property
    def is_data(self) -> bool:
        """Whether no noise is left at all (for a single level)."""
        return bool(self.sigma == 0)


DATA = NoiseLevel(torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64))
"""The level of clean images."""


def along(coefficient: Tensor, x: Tensor) -> Tensor:
    """Shape a coefficient, [] or [B], to multiply images x [B, ...], in their precision and device."""
    shaped = coefficient.reshape(-1, *[1] * (x.ndim - 1)) if coefficient.ndim else coefficient
    return send(shaped, x.device, x.dtype)


def add_noise(x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
    """Return x_t = alpha x_0 + sigma eps (DDPM, arXiv 2006.11239, equation 4)."""
    return along(level.alpha, x0) * x0 + along(level.sigma, eps) * eps
