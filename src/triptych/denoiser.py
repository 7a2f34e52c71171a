"""A backbone with its schedule and prediction, seen as one thing: a function that removes noise.

Samplers know nothing of networks. They are handed a function from (noisy image, level) to the
predicted clean image; this file makes that function.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from triptych.backbones.backbone import Backbone
from triptych.devices import send
from triptych.diffusion.noise_level import NoiseLevel, along
from triptych.diffusion.predictions import Prediction
from triptych.diffusion.schedules import NoiseSchedule
from triptych.precision import DTYPES


class Denoiser(nn.Module):
    """Schedule, prediction and backbone joined: noisy images at any level in, clean images out.

    Args:
        backbone: the network.
        schedule: the noise levels that it was trained on.
        prediction: what its output means.
        precision: of the network alone, by autocast; all arithmetic around it is in float32.
    """

    def __init__(
        self,
        backbone: Backbone,
        schedule: NoiseSchedule,
        prediction: Prediction,
        precision: str = "float32",
    ):
        super().__init__()
        self.backbone = backbone
        self.schedule = schedule
        self.prediction = prediction
        self.precision = precision

    def output(
        self, x: Tensor, t: Tensor, class_label: Tensor | None = None, guidance: Tensor | None = None
    ) -> Tensor:
        """Return the network's raw output [B, C, H, W] at times t of the own schedule, float64 [B]."""
        label = send(self.schedule.label(t), x.device)
        if self.precision == "float32":
            return self.backbone(x, label, class_label, guidance)
        with torch.autocast(x.device.type, dtype=DTYPES[self.precision]):
            return self.backbone(x, label, class_label, guidance).to(x.dtype)

    def forward(
        self,
        x: Tensor,
        level: NoiseLevel,
        class_label: Tensor | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """Return the predicted x_0 [B, C, H, W].

        The level need not be one of the own schedule: the network is shown the image at the time of
        equal signal-to-noise ratio, scaled to the amplitude that it was trained with.

        Args:
            x: noisy images [B, C, H, W].
            level: their noise level, [] or [B].
            class_label: int64 [B]; None for an unconditional model.
            guidance: float32 [B] for networks that take the guidance scale as an input.
        """
        t = self.schedule.time(level.log_snr)
        own = self.schedule.level(t)
        scale = torch.hypot(own.alpha, own.sigma) / torch.hypot(level.alpha, level.sigma)
        scaled = along(scale, x) * x
        output = self.output(scaled, t.expand(len(x)), class_label, guidance)
        return self.prediction.to_x0(output, scaled, own)


class GuidedDenoiser:
    """A denoiser with classes, guidance and clipping bound: what a sampler is given.

    With scale s the prediction is x_0(null) + s (x_0(class) - x_0(null)): 0 is unconditional, 1 plain
    conditional, above 1 guided (arXiv 2207.12598, equation 6, where w = s - 1). Both branches are one
    batched network call, and a branch whose weight is zero is not computed. Clipping comes last.

    Args:
        denoiser: the model.
        class_label: int64 [B], or None for an unconditional model.
        scale: guidance scale s.
        clip: whether the guided x_0 is clamped to [-1, 1].
    """

    def __init__(self, denoiser: Denoiser, class_label: Tensor | None, scale: float, clip: bool):
        if class_label is None and scale != 0:
            raise ValueError(f"guidance scale {scale} needs class labels; an unconditional model has scale 0")
        self.denoiser = denoiser
        self.class_label = class_label
        self.scale = scale
        self.clip = clip
        self.calls = 0
        """Network evaluations per image so far: a guided step counts two."""

    def __call__(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return the guided, clipped x_0 [B, C, H, W] for x [B, C, H, W] at a level []."""
        x0 = self._guided(x, level)
        return x0.clamp(-1.0, 1.0) if self.clip else x0

    def _guided(self, x: Tensor, level: NoiseLevel) -> Tensor:
        label = self.class_label
        if label is None:
            self.calls += 1
            return self.denoiser(x, level)
        null = torch.full_like(label, self.denoiser.backbone.null_class)
        if self.scale in (0, 1):
            self.calls += 1
            return self.denoiser(x, level, label if self.scale == 1 else null)
        self.calls += 2
        both = self.denoiser(torch.cat([x, x]), level, torch.cat([label, null]))
        conditional, unconditional = both.chunk(2)
        return torch.lerp(unconditional, conditional, self.scale)
