"""What a network costs: its parameters, and the arithmetic of one image."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from triptych.backbones.backbone import Backbone, BackboneConfig, build


@dataclass(frozen=True)
class Costs:
    """What a network takes to hold and to run."""

    parameters: int
    flops: int
    """Floating-point operations of one forward pass of one image, in matrix products, convolutions, attention
    and what a layer counts itself. A multiply-add is two. Normalisations and activations are left out."""


@runtime_checkable
class CountsItself(Protocol):
    """A layer whose arithmetic is no matrix product, such as a scan, and which says how much it is."""

    def uncounted_flops(self, *inputs: Any, **named: Any) -> int:
        """Return the operations of a forward pass of these inputs beyond its matrix products."""
        ...


def costs(backbone: Backbone) -> Costs:
    """Return what `backbone` costs. Nothing is computed: an outline of it is run, in evaluation mode."""
    network = _without_weights(backbone).eval()
    uncounted = 0

    def ask(layer: CountsItself, inputs: tuple, named: dict, output: object) -> None:
        nonlocal uncounted
        uncounted += layer.uncounted_flops(*inputs, **named)

    for layer in network.modules():
        if isinstance(layer, CountsItself):
            layer.register_forward_hook(ask, with_kwargs=True)
    with torch.device("meta"):
        x = torch.empty(1, backbone.channels, backbone.image_size, backbone.image_size)
        noise_label = torch.empty(1)
        class_label = torch.empty(1, dtype=torch.int64) if backbone.classes else None
    # Fused attention is one operation that is counted on some devices only; taken apart, it is two products.
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network(x, noise_label, class_label)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    return Costs(parameters, counter.get_total_flops() + uncounted)


def outline(config: BackboneConfig, channels: int, image_size: int, classes: int) -> Backbone:
    """Return a network that has sizes but no weights (torch's meta device), to ask what it costs.

    Args:
        config: its sizes.
        channels: colour channels of its images.
        image_size: their height and width, in pixels.
        classes: 0 for an unconditional network.

    Raises:
        UserError: these sizes cannot be built for such images.
    """
    with torch.device("meta"):
        return build(config, channels, image_size, classes)


def _without_weights(backbone: Backbone) -> Backbone:
    """Return a copy without weights of a network, whose own are neither copied nor touched."""
    stand_ins: dict[int, Any] = {}
    for parameter in backbone.parameters():
        stand_ins[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), False)
    for buffer in backbone.buffers():
        stand_ins[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(backbone, stand_ins)
