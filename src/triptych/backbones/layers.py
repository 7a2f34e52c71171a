"""Layers that several backbones share.

Letters: B batch, C channels, H W height and width, D width of an embedding, N tokens.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def zero(module: nn.Module) -> nn.Module:
    """Set all parameters of `module` to zero, so that the branch that it ends starts out silent."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """Return a linear map with Glorot's uniform weights (AISTATS 2010, equation 16) and no offset yet."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def sinusoid(number: Tensor, width: int, inclusive: bool = True) -> Tensor:
    """Embed real numbers [B] as sines, then cosines, of geometric frequencies from 1 on: [B, width].

    The width is even and at least 4. The positional encoding of arXiv 1706.03762, section 3.5. `inclusive`
    frequencies end at 1/10,000, as DDPM's do; others one step above it, as in the paper and in DiT.
    """
    half = width // 2
    intervals = half - 1 if inclusive else half
    steps = torch.arange(half, device=number.device, dtype=number.dtype)
    angle = number[:, None] * torch.exp(steps * (-math.log(10000.0) / intervals))
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class NoiseEmbedding(nn.Module):
    """The noise label as a learned vector: sinusoid, then a perceptron of two layers."""

    def __init__(self, width: int, out: int, inclusive: bool = True):
        super().__init__()
        self.width = width
        self.inclusive = inclusive
        self.up = nn.Linear(width, out)
        self.out = nn.Linear(out, out)

    def forward(self, noise_label: Tensor) -> Tensor:
        """Embed labels [B] as [B, out]."""
        return self.out(F.silu(self.up(sinusoid(noise_label, self.width, self.inclusive))))


class SpatialAttention(nn.Module):
    """Self-attention between all pixels, added to its input (DDPM, arXiv 2006.11239, appendix B)."""

    def __init__(self, channels: int, heads: int, groups: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return x [B, C, H, W] plus what each pixel gathers from the others."""
        b, c, h, w = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # B N C
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # B heads N D
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # B N C
        return x + self.out(mixed).transpose(1, 2).reshape(b, c, h, w)
