"""What every backbone is: a network from noisy images to images, and nothing else."""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from triptych.errors import UserError

OURS = "triptych"
"""Name of what this program computes by operations of torch, where another could compute it as well."""


class BackboneConfig(Protocol):
    """The sizes of a backbone: a dataclass whose fields a recipe can set."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def kind(self) -> str:
        """Its name in `BACKBONES`: a field with no other value, by which recipes name their backbone."""
        ...

    def build(self, channels: int, image_size: int, classes: int) -> Backbone:
        """Return a freshly initialised network for such images; `classes` 0 means unconditional.

        Raises:
            UserError: these sizes cannot be built for such images.
        """
        ...


def build(config: BackboneConfig, channels: int, image_size: int, classes: int) -> Backbone:
    """Return `config.build(...)`, also where its sizes are beyond any memory.

    Raises:
        UserError: these sizes cannot be built for such images, or not on this machine.
    """
    try:
        return config.build(channels, image_size, classes)
    except RuntimeError as error:  # torch has no room for a tensor, or no number for its size
        found = str(error).partition("\n")[0][:200]
        raise UserError("build the network", f"it is too large ({found})", "choose smaller sizes") from error


class Backbone(nn.Module):
    """A network that maps noisy images to images of the same shape.

    It knows nothing of schedules, losses or guidance: it is told the noise as a bare number and the
    class as an index.

    Args:
        channels: colour channels C of its images.
        image_size: height and width of its images, in pixels.
        classes: number of classes K; 0 for an unconditional network.
    """

    def __init__(self, channels: int, image_size: int, classes: int):
        super().__init__()
        self.channels = channels
        self.image_size = image_size
        self.classes = classes

    @property
    def null_class(self) -> int:
        """The label that stands for "no class": K, one past the last."""
        return self.classes

    def forward(
        self,
        x: Tensor,
        noise_label: Tensor,
        class_label: Tensor | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """Return the network's output [B, C, H, W].

        Args:
            x: noisy images [B, C, H, W].
            noise_label: float32 [B], the noise as the schedule labels it (0..999 for DDPM).
            class_label: int64 [B] in 0..K, where K is the null class; None if and only if K is 0.
            guidance: float32 [B] for networks distilled with the guidance scale as an input.
        """
        raise NotImplementedError

    def undecayed_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that weight decay is not meant for: those that a layer names `undecayed`."""
        return [
            parameter
            for module in self.modules()
            for name, parameter in module.named_parameters(recurse=False)
            if name in getattr(module, "undecayed", ())
        ]

    def implementations(self, device: torch.device, dtype: torch.dtype) -> list[str]:
        """Return what computes the parts that several implementations can, a line for each, and why no other.

        Layers that have a choice tell by a method `implementation(device, dtype)`.

        Args:
            device: that computes.
            dtype: of the network's products there.
        """
        choices = [getattr(module, "implementation", None) for module in self.modules()]
        return list(dict.fromkeys(choice(device, dtype) for choice in choices if choice is not None))

    def computed_by(self, device: torch.device, dtype: torch.dtype) -> dict[str, str]:
        """Return what computes the parts that several implementations can: `{"scan": "mamba-ssm 2.3.2"}`.

        Layers that have a choice tell by a method `computed_by(device, dtype)`.
        """
        layers = [getattr(module, "computed_by", None) for module in self.modules() if module is not self]
        told = [layer(device, dtype) for layer in layers if layer is not None]
        return {part: name for each in told for part, name in each.items()}

    def check_condition(self, class_label: Tensor | None, guidance: Tensor | None) -> None:
        """Refuse a condition that this network was not built for, before it is silently ignored."""
        if (class_label is None) != (self.classes == 0):
            need = f"labels of {self.classes} classes" if self.classes else "no class labels"
            raise ValueError(f"this backbone takes {need}")
        if guidance is not None:
            raise ValueError("this backbone does not take the guidance scale as an input")
