"""A whole layer of Mamba-2 against a layer of attention: what a block of either network is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import torch
from torch import nn

from benchmarks.comparison import Call, Case, Comparison, Variant
from benchmarks.work import differentiated, parameters
from triptych.backbones.dit import Attention, DiTConfig
from triptych.backbones.state_space.mixer import Directions, MixerSizes, SSDMixer
from triptych.commands.bench import BenchOptions

TIMED = {256: 16, 1024: 4, 4096: 1}
"""Batch by tokens: as many tokens in all each time."""
HEAD = 64
EXPAND = 2


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return a comparison for each length."""
    width, head = (32, 8) if options.quick else (384, HEAD)
    found = []
    for tokens, batch in ({64: 2} if options.quick else TIMED).items():
        batch = options.batch or batch
        layers: dict[str, Callable[[], nn.Module]] = {
            f"attention {width}": lambda: attention(width, head),
            f"attention {EXPAND * width}": lambda: attention(EXPAND * width, head),
        }
        for directions in get_args(Directions):
            layers[f"ssd {directions}"] = lambda directions=directions: mixer(width, head, directions)
        variants = {
            name: Variant(
                lambda layer=layer, batch=batch, tokens=tokens: layer_call(layer(), batch, tokens),
                facts=lambda layer=layer: parameters(layer()),
            )
            for name, layer in layers.items()
        }
        title = f"{tokens} tokens, width {width}, expanded to {EXPAND * width}"
        found.append(Comparison(title, tokens, batch, f"attention {width}", variants))
    return found


def attention(width: int, head: int) -> nn.Module:
    """Return our attention layer."""
    return Attention(DiTConfig(width=width, heads=width // head))


def mixer(width: int, head: int, directions: Directions) -> nn.Module:
    """Return our state-space layer; the second of a network, which goes down columns where any does."""
    inner = EXPAND * width
    return SSDMixer(MixerSizes(width, inner, head, head, kernel=3, directions=directions), layer=1)


def layer_call(layer: nn.Module, batch: int, tokens: int) -> Call:
    """Return forward and backward pass of a layer, its parameters' gradients included."""
    width = next(module.in_features for module in layer.modules() if isinstance(module, nn.Linear))
    x = torch.randn(batch, tokens, width, generator=torch.Generator().manual_seed(0))
    names, weights = zip(*layer.named_parameters(), strict=True)

    def applied(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    return differentiated(applied, [x, *weights])


CASE = Case("layer of Mamba-2 against a layer of attention, forward and backward", comparisons)
