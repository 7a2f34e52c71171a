"""A backbone with its schedule and prediction, seen as one thing: a function that removes noise.

Samplers know nothing of networks. They are handed a function from (noisy image, level) to the
predicted clean image; this file makes that function.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from triptych.backbones.backbone import Backbone
from triptych.cuda_graphs import Record, Replayed
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
        self._replayed: Replayed | None = None

    def replay(self, record: Record | None = None) -> None:
        """Let a GPU compute the network as one recorded graph, in all calls without gradients.

        From now on weights and precision have to stay what they are, and where they are.
        """
        called = partial(network_output, self.backbone, self.precision)
        self._replayed = Replayed(called, "the network", record)

    @property
    def recorded(self) -> bool:
        """Whether calls of the network are replayed: some were recorded, and nothing was refused."""
        return self._replayed is not None and self._replayed.recorded

    def output(
        self, x: Tensor, t: Tensor, class_label: Tensor | None = None, guidance: Tensor | None = None
    ) -> Tensor:
        """Return the network's raw output [B, C, H, W] at times t of the own schedule, float64 [B]."""
        label = send(self.schedule.label(t), x.device)
        if self._replayed is not None:
            return self._replayed(x, label, class_label, guidance)
        return network_output(self.backbone, self.precision, x, label, class_label, guidance)

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


def network_output(
    backbone: Backbone,
    precision: str,
    x: Tensor,
    noise_label: Tensor,
    class_label: Tensor | None,
    guidance: Tensor | None,
) -> Tensor:
    """Return a network's raw output [B, C, H, W], computed in a precision; see `Backbone`."""
    if precision == "float32":
        return backbone(x, noise_label, class_label, guidance)
    with torch.autocast(x.device.type, dtype=DTYPES[precision]):
        return backbone(x, noise_label, class_label, guidance).to(x.dtype)
