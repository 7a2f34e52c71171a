"""What training minimises."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel, add_noise
from triptych.diffusion.predictions import Prediction
from triptych.diffusion.schedules import NoiseSchedule
from triptych.precision import at_least_float32


class Predictor(Protocol):
    """The part of a denoiser that an objective needs: its network's raw output, and what it means."""

    schedule: NoiseSchedule
    prediction: Prediction

    def output(self, x: Tensor, t: Tensor, class_label: Tensor | None) -> Tensor:
        """Return the network's output [B, ...] for noisy images x [B, ...] at times t [B]."""
        ...


class Objective(Protocol):
    """A loss for every image of a batch."""

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


class PredictionMSE:
    """Mean squared error of the network's own quantity: DDPM's simple loss (arXiv 2006.11239, eq. 14)."""

    def loss(
        self,
        denoiser: Predictor,
        x0: Tensor,
        eps: Tensor,
        t: Tensor,
        class_label: Tensor | None,
        progress: float,
    ) -> Tensor:
        """Return the mean over pixels of |output - target|^2, float32 [B]."""
        level: NoiseLevel = denoiser.schedule.level(t)
        output = denoiser.output(add_noise(x0, eps, level), t, class_label)
        target = denoiser.prediction.target(x0, eps, level)
        return (at_least_float32(output) - target).square().flatten(1).mean(1)


OBJECTIVES: dict[str, Objective] = {"mse": PredictionMSE()}
"""Every objective by the name that recipes use."""
