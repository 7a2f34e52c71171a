"""Diffusion Mamba on pixels: the trunk of the Diffusion Transformer, with state-space layers for attention.

After DiM (arXiv 2405.14224) and DiS (arXiv 2402.05608), with the scan of Mamba-2 beside that of Mamba.

Letters: B batch, N tokens, D their width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from triptych.backbones.state_space.mixer import MIXERS, Directions, MixerSizes
from triptych.backbones.tokens import (
    MOST_BLOCKS,
    Modulation,
    TokenBackbone,
    TokenConfig,
    check_sizes,
    modulate,
    normalisation,
)
from triptych.errors import UserError


@dataclass(frozen=True)
class DiMConfig(TokenConfig):
    """Sizes of Diffusion Mamba. The defaults have as many parameters as DiT-S/2: 32 million."""

    kind: Literal["dim"] = "dim"
    depth: int = 23
    """Blocks, each one state-space layer."""
    mixer: Literal["ssd", "s6"] = "ssd"
    """The scan: Mamba-2's, of matrix products, or Mamba's, token by token."""
    directions: Directions = "alternating"
    """How a layer goes through the image, rows and columns in turn: one way (alternating), both, with half of
    its width each (split), with all of it (double), or with shared parameters (mirrored, ssd only)."""
    expand: int = 2
    """Width inside a layer, in units of `width`."""
    state: int = 64
    """Width of the state: 64 is usual for ssd, 16 for s6."""
    head_width: int = 64
    """Width of a head, which has one decay (ssd only)."""
    kernel: int = 3
    """Side of the convolution by which tokens see their neighbours; odd."""

    def check(self, image_size: int) -> None:
        """Raise `UserError` where these sizes cannot be built for images of `image_size` pixels."""
        self.check_tokens(image_size)
        check_sizes(
            depth=(self.depth, MOST_BLOCKS),
            expand=(self.expand, 64),
            state=(self.state, 4096),
            head_width=(self.head_width, 4096),
            kernel=(self.kernel, 63),
        )
        if self.kernel % 2 == 0:
            raise UserError(f"backbone.kernel {self.kernel}", "even", "choose an odd number")
        inner, parts = self.expand * self.width, 2 if self.directions == "split" else 1
        unit = parts * (self.head_width if self.mixer == "ssd" else 1)
        if inner % unit:
            found = f"the inner width {inner} is not a multiple of {unit}"
            remedy = f"choose one that divides {inner // parts}"
            if parts > 1:
                remedy += ", half of it, or --backbone.directions alternating"
            raise UserError(f"backbone.head-width {self.head_width}", found, remedy)
        if self.directions == "mirrored" and self.mixer != "ssd":
            found = f"the mixer {self.mixer} has no such form"
            raise UserError("backbone.directions mirrored", found, "choose --backbone.mixer ssd, or double")

    def build(self, channels: int, image_size: int, classes: int) -> TokenBackbone:
        """Return a freshly initialised Diffusion Mamba for such images; it predicts zero."""
        self.check(image_size)
        blocks = [partial(Block, self, layer) for layer in range(self.depth)]
        return TokenBackbone(self, channels, image_size, classes, blocks)


class Block(nn.Module):
    """A state-space layer, shifted, scaled and gated by the condition (adaLN-Zero)."""

    def __init__(self, config: DiMConfig, layer: int):
        super().__init__()
        sizes = MixerSizes(
            width=config.width,
            inner=config.expand * config.width,
            state=config.state,
            head_width=config.head_width,
            kernel=config.kernel,
            directions=config.directions,
        )
        self.modulation = Modulation(config.width, 3)
        self.norm = normalisation(config)
        self.mixer = MIXERS[config.mixer](sizes, layer)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return tokens [B, N, D] for tokens of that shape and an activated condition [B, D]."""
        shift, scale, gate = self.modulation(condition)  # B 1 D each
        return torch.addcmul(x, gate, self.mixer(modulate(self.norm(x), shift, scale)))
