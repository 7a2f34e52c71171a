"""Every backbone at a size that computes in no time, and what its options can be."""

from dataclasses import replace

import torch

from triptych.backbones.dim import DiMConfig
from triptych.backbones.dit import DiTConfig
from triptych.backbones.unet import UNetConfig

SMALL = {
    "unet": UNetConfig(width=16, multipliers=(1, 2), blocks=1, attention=(4,), groups=4, dropout=0.0),
    "dit": DiTConfig(width=16, depth=3, heads=2),
    "dim": DiMConfig(width=16, depth=5, head_width=8, state=6),
}
"""One of each kind that `BACKBONES` lists, for 8-pixel images."""

VARIANTS = {
    "dit, everything": DiTConfig(
        width=16,
        depth=4,
        heads=2,
        patch=1,
        positions="learned",
        norm="rms",
        mlp="swiglu",
        qk_norm=True,
        long_skips=True,
        output_conv=True,
        gradient_checkpointing=True,
    ),
    "dim, everything": DiMConfig(
        width=16,
        depth=4,
        head_width=8,
        state=6,
        patch=1,
        positions="learned",
        norm="rms",
        long_skips=True,
        output_conv=True,
        gradient_checkpointing=True,
        expand=3,
        directions="alternating",
    ),
    "dit, detail": DiTConfig(width=16, depth=2, heads=2, patch=4, detail_channels=6),
    "dim, detail": DiMConfig(width=16, depth=2, head_width=8, state=6, patch=4, detail_channels=6),
    "dim, double": DiMConfig(width=16, depth=2, head_width=8, state=6, directions="double"),
    "dim, mirrored": DiMConfig(width=16, depth=2, head_width=8, state=6, directions="mirrored"),
    "dim, s6": DiMConfig(width=16, depth=2, mixer="s6", state=4),
    "dim, s6, double": DiMConfig(width=16, depth=2, mixer="s6", state=4, directions="double", kernel=1),
}
"""Options of theirs switched on, together and by themselves."""

ALL = SMALL | VARIANTS


LEAST = {"multipliers": (1,), "attention": (), "depth": 1}
SHALLOW = {
    name: replace(config, **{field: least for field, least in LEAST.items() if hasattr(config, field)})
    for name, config in SMALL.items()
}
"""Each kind as shallow as it can be, to try what is around a network."""


def awake(network, seed=0):
    """Give a fresh network's silent layers random weights, so that its output depends on everything."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.abs().max() == 0:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network.eval()


def arguments(network, count=3):
    """Return images, noise labels and class labels, the null class among them, to try a network on."""
    generator = torch.Generator().manual_seed(1)
    side = network.image_size
    x = torch.randn(count, network.channels, side, side, generator=generator)
    noise = torch.linspace(0, 999, count)
    classes = network.classes
    return x, noise, torch.arange(count).remainder(classes + 1) if classes else None
