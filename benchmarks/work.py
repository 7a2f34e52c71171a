"""What work is made of: a training step of a network, a prediction, a differentiated operation."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.ceilings import operations_of
from benchmarks.comparison import Call, Operations
from triptych.backbones.backbone import Backbone, BackboneConfig
from triptych.backbones.costs import costs, outline

CLASSES, CHANNELS = 10, 3

Results = Callable[[Tensor, Sequence[Tensor]], Sequence[Tensor]]
"""Brings an output, and the gradients of all inputs, into the layout in which variants are compared."""


def folder(name: str) -> Path:
    """Return an empty folder that is there as long as this process."""
    path = tempfile.mkdtemp(prefix=f"{name}-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


def images(batch: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return noisy images [B, 3, H, W], their noise labels and their classes [B]."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(batch, CHANNELS, size, size, generator=draw)
    noise = torch.rand(batch, generator=draw) * 999
    return x, noise, torch.randint(CLASSES, (batch,), generator=draw)


def training_step(network: nn.Module, batch: int, size: int) -> Call:
    """Return a step of AdamW on the mean squared error: forward, backward and update.

    Gradients are given up at its end, so that they count as memory of the step.
    """
    awaken(network)
    inputs = images(batch, size)
    target = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def step() -> Sequence[Tensor]:
        F.mse_loss(network(*inputs), target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return ()

    return step


def awaken(network: nn.Module) -> None:
    """Give parameters that start at zero small random values, so that no branch is silent or skipped."""
    draw = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02, generator=draw)


def prediction(network: nn.Module, batch: int, size: int) -> Call:
    """Return a prediction, as every step of a sampler asks for it."""
    awaken(network)
    inputs = images(batch, size)
    network.eval()

    def predict() -> Sequence[Tensor]:
        with torch.inference_mode():
            return (network(*inputs),)

    return predict


def our_network(config: BackboneConfig, size: int) -> Backbone:
    """Return a backbone of ours, the same whenever it is asked for."""
    torch.manual_seed(0)
    return config.build(CHANNELS, size, CLASSES)


def our_step(config: BackboneConfig, batch: int, size: int) -> Call:
    """Return a training step of a backbone of ours."""
    return training_step(our_network(config, size), batch, size)


def step_operations(network: nn.Module, batch: int, size: int, *, training: bool = True) -> Operations:
    """Return what a training step of a network, or a prediction, comes to."""
    return operations_of(network, images(1, size), batch, training=training)


def parameters(network: nn.Module) -> dict[str, float]:
    """Return how many parameters a network trains."""
    trained = (parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return {"M parameters": sum(trained) / 1e6}


def our_costs(config: BackboneConfig, size: int) -> dict[str, float]:
    """Return parameters, and the arithmetic of a forward pass of one image, of a backbone of ours."""
    cost = costs(outline(config, CHANNELS, size, CLASSES))
    return {"M parameters": cost.parameters / 1e6, "GFLOP/image": cost.flops / 1e9}


def as_they_are(y: Tensor, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return an output and its gradients in the layout that they have."""
    return (y, *gradients)


def output_gradient(*shape: int) -> Tensor:
    """Return the gradient of an output, the same whenever the shape is."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def differentiated(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    dy: Tensor | None = None,
    compared: Results = as_they_are,
) -> Call:
    """Return a call of `function` on inputs, and of its backward pass.

    Args:
        function: takes the inputs and returns a tensor.
        inputs: each of which has a gradient computed.
        dy: the gradient of the output; None: `output_gradient` of its shape.
        compared: what of it is held against other variants.
    """
    leaves = [one.detach().requires_grad_() for one in inputs]
    if dy is None:
        with torch.no_grad():
            dy = output_gradient(*function(*leaves).shape)
    given = dy

    def call() -> Sequence[Tensor]:
        y = function(*leaves)
        return compared(y.detach(), torch.autograd.grad(y, leaves, given))

    return call
