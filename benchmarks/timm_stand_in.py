"""Stand-ins for the layers of timm that facebookresearch/DiT is built of, where timm cannot be imported.

They have timm's names and arguments, as far as that code uses them, and do the same arithmetic.

Letters: B batch, N tokens, D their width, E width of a head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

NOTE = "stand-ins for timm's PatchEmbed, Attention and Mlp"


class PatchEmbed(nn.Module):
    """Square patches of an image as tokens, by a convolution whose steps are as long as its kernel."""

    def __init__(
        self,
        img_size: int = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        bias: bool = True,
    ):
        super().__init__()
        self.patch_size = (patch_size, patch_size)
        self.num_patches = (img_size // patch_size) ** 2
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride=patch_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens [B, N, D] for images [B, C, H, W]."""
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Attention of several heads; `fused_attn` says whether by torch's one operation or step by step."""

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = False):
        super().__init__()
        self.num_heads = num_heads
        self.fused_attn = True
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, N, D] for tokens of that shape."""
        images, tokens, width = x.shape
        split = self.qkv(x).view(images, tokens, 3, self.num_heads, width // self.num_heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # B heads N E
        if self.fused_attn:
            gathered = F.scaled_dot_product_attention(q, k, v)
        else:
            scaled = q * q.shape[-1] ** -0.5
            gathered = (scaled @ k.mT).softmax(dim=-1) @ v
        return self.proj(gathered.transpose(1, 2).reshape(images, tokens, width))


class Mlp(nn.Module):
    """A perceptron of two layers."""

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        drop: float = 0.0,
    ):
        super().__init__()
        assert not drop, "DiT drops nothing"
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_features, in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, N, D] for tokens of that shape."""
        return self.fc2(self.act(self.fc1(x)))
