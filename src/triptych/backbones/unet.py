"""The UNet of DDPM (arXiv 2006.11239, appendix B), from the digits' size to CIFAR-10's.

Letters: B batch, C channels of the level at hand, H W its height and width, E width of the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.backbones.backbone import Backbone
from triptych.backbones.dropout import Dropout
from triptych.backbones.layers import NoiseEmbedding, SpatialAttention, zero
from triptych.errors import UserError


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of the UNet. The defaults are DDPM's for CIFAR-10: 35.7 million parameters."""

    kind: Literal["unet"] = "unet"
    width: int = 128
    """Channels at full resolution, even and at least 4; a multiple of `groups` and of `heads`."""
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    """Channels of each level, in units of `width`; each further level has half the resolution."""
    blocks: int = 2
    """Residual blocks per level on the way down; one more on the way up."""
    patch: int = 1
    """Squares of this many pixels a side are folded into channels first: 2 computes a quarter as much."""
    attention: tuple[int, ...] = (16,)
    """Resolutions, counted in patches, at which every block is followed by self-attention."""
    heads: int = 1
    """Attention heads."""
    dropout: float = 0.1
    """Probability with which values inside residual blocks are dropped in training, 0 <= p < 1."""
    groups: int = 32
    """Groups of each group normalisation."""

    def check(self, image_size: int) -> None:
        """Raise `UserError` where these sizes cannot be built for images of `image_size` pixels."""
        if self.patch < 1 or image_size % self.patch:
            raise UserError(
                f"backbone.patch {self.patch} on {image_size}-pixel images",
                "it does not divide their size",
                "choose 1, or a number that does",
            )
        largest = image_size // self.patch
        if not self.multipliers or largest % 2 ** (len(self.multipliers) - 1):
            raise UserError(
                f"backbone.multipliers {self.multipliers} on {image_size}-pixel images",
                f"{largest} cannot be halved {len(self.multipliers) - 1} times",
                "use fewer levels, or images whose size divides",
            )
        if self.width < 4 or self.width % 2:
            raise UserError(
                f"backbone.width {self.width}",
                "the noise level is embedded in pairs of sine and cosine, at least two",
                "choose an even number, at least 4",
            )
        for name, divisor in (("groups", self.groups), ("heads", self.heads)):
            if divisor < 1 or self.width % divisor:
                raise UserError(
                    f"backbone.{name} {divisor}",
                    f"width {self.width} is not a multiple of it",
                    f"choose --backbone.{name} that divides --backbone.width",
                )
        sizes = self.level_sizes(image_size)
        if absent := [size for size in self.attention if size not in sizes]:
            raise UserError(
                f"backbone.attention {absent[0]}",
                f"no level has images of that size; they have {', '.join(map(str, sizes))} pixels",
                "choose among them",
            )
        if self.blocks < 1 or min(self.multipliers) < 1:
            raise UserError(
                "backbone.blocks and backbone.multipliers",
                f"{self.blocks} and {self.multipliers}",
                "each must be at least 1",
            )
        if not 0 <= self.dropout < 1:
            raise UserError("backbone.dropout", f"{self.dropout}", "choose 0 <= dropout < 1")

    def level_sizes(self, image_size: int) -> list[int]:
        """Return the height and width of each level, from the finest on."""
        return [image_size // self.patch // 2**level for level in range(len(self.multipliers))]

    def build(self, channels: int, image_size: int, classes: int) -> UNet:
        """Return a freshly initialised UNet for such images; it predicts zero."""
        self.check(image_size)
        return UNet(self, channels, image_size, classes)


class ResidualBlock(nn.Module):
    """Two normalised 3x3 convolutions with the condition added between them, beside a shortcut."""

    def __init__(self, c_in: int, c_out: int, embedding: int, config: UNetConfig):
        super().__init__()
        self.norm1 = nn.GroupNorm(config.groups, c_in, eps=1e-6)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.condition = nn.Linear(embedding, c_out)
        self.norm2 = nn.GroupNorm(config.groups, c_out, eps=1e-6)
        self.dropout = Dropout(config.dropout)
        self.conv2 = zero(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return [B, C_out, H, W] for x [B, C_in, H, W] and an activated embedding [B, E]."""
        h = self.conv1(F.silu(self.norm1(x)))  # B C_out H W
        h = h + self.condition(condition)[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.shortcut(x) + h


class Stage(nn.Module):
    """A residual block and, at the resolutions that have it, attention."""

    def __init__(self, c_in: int, c_out: int, attends: bool, embedding: int, config: UNetConfig):
        super().__init__()
        self.block = ResidualBlock(c_in, c_out, embedding, config)
        self.attention = SpatialAttention(c_out, config.heads, config.groups) if attends else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return [B, C_out, H, W] for x [B, C_in, H, W] and an activated embedding [B, E]."""
        return self.attention(self.block(x, condition))


class Downsample(nn.Module):
    """Halve the resolution by a strided convolution, padded at the right and bottom as in DDPM."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, H/2, W/2] for x [B, C, H, W]."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the resolution by repeating pixels, then convolve."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, 2H, 2W] for x [B, C, H, W]."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(Backbone):
    """Residual blocks down to a low resolution and up again, each way joined to the other by skips."""

    def __init__(self, config: UNetConfig, channels: int, image_size: int, classes: int):
        super().__init__(channels, image_size, classes)
        embedding = 4 * config.width
        widths = [config.width * m for m in config.multipliers]
        sizes = config.level_sizes(image_size)
        self.patch = config.patch
        folded = channels * config.patch**2

        def stage(c_in: int, c_out: int, attends: bool) -> Stage:
            return Stage(c_in, c_out, attends, embedding, config)

        self.noise_embedding = NoiseEmbedding(config.width, embedding)
        self.class_embedding = nn.Embedding(classes + 1, embedding) if classes else None
        self.conv_in = nn.Conv2d(folded, config.width, 3, padding=1)

        skips = [config.width]  # channels of every tensor that the way up will be joined to
        c = config.width
        self.down = nn.ModuleList()
        for level, (width, size) in enumerate(zip(widths, sizes, strict=True)):
            for _ in range(config.blocks):
                self.down.append(stage(c, width, size in config.attention))
                c = width
                skips.append(c)
            if level < len(widths) - 1:
                self.down.append(Downsample(c))
                skips.append(c)

        self.middle = nn.ModuleList([stage(c, c, True), stage(c, c, False)])

        self.up = nn.ModuleList()
        for level, (width, size) in reversed(list(enumerate(zip(widths, sizes, strict=True)))):
            for _ in range(config.blocks + 1):
                self.up.append(stage(c + skips.pop(), width, size in config.attention))
                c = width
            if level > 0:
                self.up.append(Upsample(c))

        self.norm_out = nn.GroupNorm(config.groups, c, eps=1e-6)
        self.conv_out = zero(nn.Conv2d(c, folded, 3, padding=1))

    def forward(
        self,
        x: Tensor,
        noise_label: Tensor,
        class_label: Tensor | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """Return the network's output [B, C, H, W]; see `Backbone.forward`."""
        self.check_condition(class_label, guidance)
        embedding = self.noise_embedding(noise_label)  # B E
        if self.class_embedding is not None:
            embedding = embedding + self.class_embedding(class_label)
        condition = F.silu(embedding)

        h = self.conv_in(F.pixel_unshuffle(x, self.patch))
        skips = [h]
        for part in self.down:
            h = part(h) if isinstance(part, Downsample) else part(h, condition)
            skips.append(h)
        for part in self.middle:
            h = part(h, condition)
        for part in self.up:
            h = part(h) if isinstance(part, Upsample) else part(torch.cat([h, skips.pop()], dim=1), condition)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(h))), self.patch)
