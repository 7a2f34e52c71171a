"""DDPM's UNet for CIFAR-10, in training and in use: ours, diffusers' and improved-diffusion's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor, nn

from benchmarks.comparison import Absent, Case, Comparison, Variant
from benchmarks.peers import Peer, diffusers, improved_diffusion, release
from benchmarks.work import (
    CHANNELS,
    CLASSES,
    awaken,
    our_costs,
    our_network,
    parameters,
    prediction,
    step_operations,
    training_step,
)
from triptych.backbones.diffusers_options import to_options
from triptych.backbones.diffusers_tensors import to_theirs
from triptych.backbones.unet import UNetConfig
from triptych.commands.bench import BenchOptions

OURS, DIFFUSERS, IMPROVED = "triptych unet", "diffusers UNet2DModel", "improved-diffusion"
WORK = {"training step": training_step, "prediction": prediction}


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return the two comparisons of this case: without dropout, whose masks each draws in its own way."""
    config = UNetConfig(width=32, attention=(4,)) if options.quick else UNetConfig()
    config = replace(config, dropout=0.0)
    size, batch = (8, 2) if options.quick else (32, 16)
    batch = options.batch or batch
    peer = improved_diffusion(options.peers)
    notes = {DIFFUSERS: f"{release('diffusers')}, our weights", IMPROVED: getattr(peer, "note", "")}
    networks: dict[str, Callable[[], nn.Module] | Absent] = {
        OURS: lambda: our_network(config, size),
        DIFFUSERS: diffusers_network(diffusers(), config, size),
        IMPROVED: improved_network(peer, config, size),
    }
    return [
        Comparison(
            f"{what}, {size}x{size} pixels",
            0,
            batch,
            OURS,
            {
                name: replace(variant(name, network, config, batch, size, what), note=notes.get(name, ""))
                for name, network in networks.items()
            },
        )
        for what in WORK
    ]


def variant(
    name: str,
    network: Callable[[], nn.Module] | Absent,
    config: UNetConfig,
    batch: int,
    size: int,
    what: str,
) -> Variant:
    """Return one of the networks at one kind of work."""
    if isinstance(network, Absent):
        return Variant(network)
    training = WORK[what] is training_step
    return Variant(
        lambda: WORK[what](network(), batch, size),
        like=OURS if name == DIFFUSERS and not training else "",
        facts=lambda: our_costs(config, size) if name == OURS else parameters(network()),
        operations=lambda: step_operations(network(), batch, size, training=training),
    )


class Plain(nn.Module):
    """Diffusers' network called like any other.

    Args:
        network: which returns an object that holds the prediction.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """Return the prediction."""
        return self.network(x, noise, labels).sample


def diffusers_network(
    library: ModuleType | Absent, config: UNetConfig, size: int
) -> Callable[[], nn.Module] | Absent:
    """Return what makes their network of our sizes with our weights, or why it cannot be had."""
    if isinstance(library, Absent):
        return library

    def make() -> nn.Module:
        theirs = library.UNet2DModel(**to_options(config, CHANNELS, size, CLASSES))
        ours = our_network(config, size)
        awaken(ours)
        theirs.load_state_dict(to_theirs(ours.state_dict(), config))
        return Plain(theirs)

    return make


def improved_network(peer: Peer | Absent, config: UNetConfig, size: int) -> Callable[[], nn.Module] | Absent:
    """Return what makes the authors' network of our sizes, or why it cannot be had."""
    if isinstance(peer, Absent):
        return peer

    def make() -> nn.Module:
        torch.manual_seed(0)
        return peer.module.UNetModel(
            in_channels=CHANNELS,
            model_channels=config.width,
            out_channels=CHANNELS,
            num_res_blocks=config.blocks,
            attention_resolutions=tuple(size // resolution for resolution in config.attention),
            channel_mult=config.multipliers,
            num_classes=CLASSES,
            num_heads=config.heads,
        )

    return make


CASE = Case("training step and prediction of DDPM's UNet on 32x32 pixels", comparisons)
