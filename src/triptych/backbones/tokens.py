"""The trunk that Diffusion Transformer and Diffusion Mamba share: an image as tokens, and back.

Patches become tokens with positions; blocks change them, told of noise and class by adaptive normalisation
(DiT, arXiv 2212.09748, section 3.2); the tokens become patches again. By option the first half of the blocks
is joined to the second by long skips, and a convolution smooths the borders of patches (U-ViT,
arXiv 2209.12152, section 3.1).

Letters: B batch, C channels of the image, H W its height and width, p side of a patch, N tokens, D their
width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from triptych.backbones.backbone import Backbone
from triptych.backbones.detail_head import DetailHead
from triptych.backbones.layers import NoiseEmbedding, linear, sinusoid, zero
from triptych.errors import UserError
from triptych.precision import product_dtype

NOISE_WIDTH = 256
"""Sines and cosines that the noise label is seen as."""

NORM_EPS = 1e-6

MOST_BLOCKS = 1000
"""Deeper networks are mistakes that would exhaust the machine."""


@dataclass(frozen=True)
class TokenConfig:
    """What Diffusion Transformer and Diffusion Mamba have in common."""

    patch: int = 2
    """Side of the square of pixels that is one token; it divides the images' size."""
    width: int = 384
    """Numbers per token; a multiple of 4."""
    positions: Literal["sincos", "learned"] = "sincos"
    """Where a token stands: sines and cosines of its row and column, or vectors that are learned."""
    norm: Literal["layer", "rms"] = "layer"
    """Normalisation before each branch: to mean 0 and variance 1, or to mean square 1."""
    long_skips: bool = False
    """Whether each block of the first half is joined to its mirror image in the second."""
    output_conv: bool = False
    """Whether a 3x3 convolution over the finished pixels smooths the borders of patches."""
    detail_channels: int = 0
    """Channels of a few convolutions over all pixels that draw what lies inside a patch, in place of
    `output_conv`; 0: none."""
    gradient_checkpointing: bool = False
    """Whether a block's activations are computed again in the backward pass, which saves memory for time."""

    def check_tokens(self, image_size: int) -> None:
        """Raise `UserError` where images of `image_size` pixels cannot become such tokens."""
        if self.patch < 1 or image_size % self.patch:
            raise UserError(
                f"backbone.patch {self.patch} on {image_size}-pixel images",
                "it does not divide their size" if self.patch > 0 else "out of range",
                "choose 1, or a number that divides their size",
            )
        check_sizes(width=(self.width, 1 << 14))
        if self.detail_channels:
            check_sizes(detail_channels=(self.detail_channels, 4096))
            if self.output_conv:
                raise UserError(
                    f"backbone.detail-channels {self.detail_channels} with backbone.output-conv True",
                    "both end in a convolution over the pixels",
                    "choose one of them",
                )
        if self.width % 4:
            raise UserError(
                f"backbone.width {self.width}",
                "rows and columns are embedded in pairs of sine and cosine each",
                "choose a multiple of 4",
            )


def check_sizes(**fields: tuple[int, int]) -> None:
    """Raise `UserError` for the first field, given as (value, largest), that is out of range."""
    for name, (value, largest) in fields.items():
        if not 1 <= value <= largest:
            asked = f"backbone.{name.replace('_', '-')} {value}"
            raise UserError(asked, "out of range", f"choose 1 to {largest:,}")


class Modulation(nn.Module):
    """The condition as `parts` vectors per image that shift, scale or gate a branch; zero at first."""

    def __init__(self, width: int, parts: int):
        super().__init__()
        self.parts = parts
        self.linear = zero(nn.Linear(width, parts * width))

    def forward(self, condition: Tensor) -> Sequence[Tensor]:
        """Return `parts` tensors [B, 1, D] for an activated condition [B, D]."""
        return self.linear(condition)[:, None].chunk(self.parts, dim=2)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return x (1 + scale) + shift for tokens x [B, N, D] and vectors [B, 1, D], in one pass."""
    return torch.addcmul(shift, x, 1 + scale)


def normalisation(config: TokenConfig) -> nn.Module:
    """Return a normalisation of tokens without gains of its own: `modulate` brings them."""
    kind = nn.LayerNorm if config.norm == "layer" else nn.RMSNorm
    return kind(config.width, eps=NORM_EPS, elementwise_affine=False)


def grid_positions(side: int, width: int) -> Tensor:
    """Return sinusoidal positions of a square grid, row by row: f32 [side^2, width].

    The first half of each vector tells the column, the second the row, as in DiT.
    """
    along = sinusoid(torch.arange(side, dtype=torch.float64), width // 2, inclusive=False)  # side D/2
    rows, columns = along[:, None].expand(-1, side, -1), along[None].expand(side, -1, -1)
    return torch.cat([columns, rows], dim=2).flatten(0, 1).float()


class TokenBackbone(Backbone):
    """Tokens through blocks: see the head of this file.

    Args:
        config: what is common to its kinds.
        channels: colour channels C of its images.
        image_size: height and width of its images, in pixels.
        classes: number of classes; 0 for an unconditional network.
        blocks: in order; each maps tokens [B, N, D] and an activated condition [B, D] to tokens.
    """

    def __init__(
        self,
        config: TokenConfig,
        channels: int,
        image_size: int,
        classes: int,
        blocks: Sequence[Callable[[], nn.Module]],
    ):
        super().__init__(channels, image_size, classes)
        width, folded = config.width, channels * config.patch**2
        self.patch = config.patch
        self.side = image_size // config.patch
        self.gradient_checkpointing = config.gradient_checkpointing
        self.embed = linear(folded, width)
        positions = grid_positions(self.side, width)
        if config.positions == "learned":
            self.positions = nn.Parameter(torch.randn(positions.shape) * 0.02)
        else:
            self.register_buffer("positions", positions, persistent=False)
        self.noise_embedding = NoiseEmbedding(NOISE_WIDTH, width, inclusive=False)
        for layer in (self.noise_embedding.up, self.noise_embedding.out):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.class_embedding = nn.Embedding(classes + 1, width) if classes else None
        if self.class_embedding is not None:
            nn.init.normal_(self.class_embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(block() for block in blocks)
        skips = len(blocks) // 2 if config.long_skips else 0
        self.skips = nn.ModuleList(LongSkip(width) for _ in range(skips))
        self.norm_out = normalisation(config)
        self.modulation_out = Modulation(width, 2)
        self.conv_out = self.detail = None
        if config.detail_channels:
            self.project = linear(width, config.detail_channels * config.patch**2)
            self.detail = DetailHead(channels, config.detail_channels, width)
        else:
            self.project = zero(nn.Linear(width, folded))
        if config.output_conv:  # without an offset: a fresh network predicts zero
            self.conv_out = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(
        self,
        x: Tensor,
        noise_label: Tensor,
        class_label: Tensor | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """Return the network's output [B, C, H, W]; see `Backbone.forward`."""
        self.check_condition(class_label, guidance)
        condition = self.noise_embedding(noise_label)  # B D
        if self.class_embedding is not None:
            condition = condition + self.class_embedding(class_label)
        condition = F.silu(condition)

        patches = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)  # B N Cpp
        tokens = self.embed(patches) + self.positions.to(patches.dtype)  # B N D
        tokens = self._through_blocks(tokens, condition)
        shift, scale = self.modulation_out(condition)
        patches = self.project(modulate(self.norm_out(tokens), shift, scale))  # B N Fpp
        folded = patches.transpose(1, 2).unflatten(2, (self.side, self.side))  # B Fpp H/p W/p
        pixels = F.pixel_shuffle(folded, self.patch)  # B F H W, F = C without a detail head
        if self.detail is not None:
            return self.detail(pixels, x, condition)
        return pixels if self.conv_out is None else self.conv_out(pixels)

    def _through_blocks(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Return tokens [B, N, D] after all blocks, each of the last ones joined to its mirror image."""
        if self.gradient_checkpointing:
            # What computes is chosen now: chosen inside, it would not be so again when a block is repeated.
            self.implementations(tokens.device, product_dtype(tokens))
        pending: list[Tensor] = []
        first_joined = len(self.blocks) - len(self.skips)
        for i, block in enumerate(self.blocks):
            if i >= first_joined:
                tokens = self.skips[i - first_joined](tokens, pending.pop())
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, condition, use_reentrant=False)
            else:
                tokens = block(tokens, condition)
            if i < len(self.skips):
                pending.append(tokens)
        return tokens


class LongSkip(nn.Module):
    """Tokens joined to those of a much earlier block: concatenated, then mapped back to their width.

    At first the earlier ones count for nothing, so that the network starts as it would without.
    """

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(2 * width, width)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Tensor, earlier: Tensor) -> Tensor:
        """Return [B, N, D] for two tensors of that shape."""
        return self.linear(torch.cat([tokens, earlier], dim=2)).to(tokens.dtype)
