"""The Diffusion Transformer on pixels (DiT, arXiv 2212.09748), with what has lifted it since.

Letters: B batch, N tokens, D their width, E width of a head, M width inside the perceptron.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.backbones.layers import linear
from triptych.backbones.tokens import (
    MOST_BLOCKS,
    NORM_EPS,
    Modulation,
    TokenBackbone,
    TokenConfig,
    check_sizes,
    modulate,
    normalisation,
)
from triptych.errors import UserError

SIZES = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}
"""Width, depth and heads of the paper's sizes (table 1)."""


@dataclass(frozen=True)
class DiTConfig(TokenConfig):
    """Sizes of the Diffusion Transformer. The defaults are DiT-S/2: 32 million parameters."""

    kind: Literal["dit"] = "dit"
    depth: int = 12
    """Blocks, each attention and a perceptron."""
    heads: int = 6
    """Attention heads; they divide `width`."""
    mlp_ratio: float = 4.0
    """Width inside the perceptrons, in units of `width`."""
    mlp: Literal["gelu", "swiglu"] = "gelu"
    """The perceptrons: one hidden layer, or a gated one (arXiv 2002.05202) of as many parameters."""
    qk_norm: bool = False
    """Whether queries and keys are normalised, so that attention cannot grow without bound."""

    def check(self, image_size: int) -> None:
        """Raise `UserError` where these sizes cannot be built for images of `image_size` pixels."""
        self.check_tokens(image_size)
        check_sizes(depth=(self.depth, MOST_BLOCKS), heads=(self.heads, self.width))
        if self.width % self.heads:
            raise UserError(
                f"backbone.heads {self.heads}",
                f"width {self.width} is not a multiple of it",
                "choose --backbone.heads that divides --backbone.width",
            )
        if not 0 < self.mlp_ratio <= 64:
            raise UserError(
                f"backbone.mlp-ratio {self.mlp_ratio:g}", "out of range", "choose more than 0, 64 at most"
            )

    def build(self, channels: int, image_size: int, classes: int) -> TokenBackbone:
        """Return a freshly initialised DiT for such images; it predicts zero."""
        self.check(image_size)
        blocks = [partial(Block, self)] * self.depth
        return TokenBackbone(self, channels, image_size, classes, blocks)


def sized(size: str, patch: int) -> DiTConfig:
    """Return the plain network that the paper calls DiT-`size`/`patch`."""
    width, depth, heads = SIZES[size]
    return DiTConfig(patch=patch, width=width, depth=depth, heads=heads)


class HeadNorm(nn.RMSNorm):
    """Queries or keys scaled to mean square 1 and by learned gains, in the gains' precision."""

    def __init__(self, width: int):
        super().__init__(width, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, heads, N, E] for x of that shape, in the precision of x."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class Attention(nn.Module):
    """Every token gathers from all others (arXiv 1706.03762, section 3.2.2)."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.heads = config.heads
        head_width = config.width // config.heads
        self.qkv = linear(config.width, 3 * config.width)
        self.norm_q = HeadNorm(head_width) if config.qk_norm else nn.Identity()
        self.norm_k = HeadNorm(head_width) if config.qk_norm else nn.Identity()
        self.out = linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, N, D] for tokens of that shape."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # B heads N E
        mixed = F.scaled_dot_product_attention(self.norm_q(q), self.norm_k(k), v)  # B heads N E
        return self.out(mixed.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two layers with a smooth step between (GELU, arXiv 1606.08415, by its tanh approximation)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up = linear(width, hidden)
        self.down = linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, N, D] for tokens of that shape."""
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class GatedPerceptron(nn.Module):
    """Two layers, the hidden one gated by a third (SwiGLU, arXiv 2002.05202, equation 6)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up = linear(width, 2 * hidden)
        self.down = linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, N, D] for tokens of that shape."""
        gate, value = self.up(x).chunk(2, dim=2)  # B N M
        return self.down(F.silu(gate) * value)


def perceptron(config: DiTConfig) -> nn.Module:
    """Return the perceptron that the configuration asks for."""
    hidden = max(1, round(config.mlp_ratio * config.width))
    if config.mlp == "gelu":
        return Perceptron(config.width, hidden)
    return GatedPerceptron(config.width, max(1, round(hidden * 2 / 3)))  # three matrices for two


class Block(nn.Module):
    """Attention, then a perceptron, each shifted, scaled and gated by the condition (adaLN-Zero)."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.modulation = Modulation(config.width, 6)
        self.norm1 = normalisation(config)
        self.attention = Attention(config)
        self.norm2 = normalisation(config)
        self.mlp = perceptron(config)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return tokens [B, N, D] for tokens of that shape and an activated condition [B, D]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)  # B 1 D each
        x = torch.addcmul(x, gate1, self.attention(modulate(self.norm1(x), shift1, scale1)))
        return torch.addcmul(x, gate2, self.mlp(modulate(self.norm2(x), shift2, scale2)))
