"""Convolutions at full resolution after the tokens: they draw what lies inside a patch.

A token stands for a square of pixels, and a layer that maps tokens back to pixels sees neither the next
square nor what two neighbouring pixels share. A few narrow convolutions do, over the noisy pixels and what
the tokens say of each. After the patch detailer head of DiP (arXiv 2511.18822), which works inside each
patch; this one goes over the whole image, so that it smooths the borders too.

Letters: B batch, C channels of the image, H W its height and width, F channels of the head, D width of the
condition.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from triptych.backbones.layers import zero

DEPTH = 2
"""Convolutions between the first and the last."""


class DetailHead(nn.Module):
    """Noisy pixels and what the tokens say of each of them, to the network's output; zero at first.

    Args:
        channels: colour channels C.
        features: channels F of the head.
        condition: width D of the condition.
    """

    def __init__(self, channels: int, features: int, condition: int):
        super().__init__()
        self.conv_in = nn.Conv2d(channels, features, 3, padding=1)
        self.modulations = nn.ModuleList(zero(nn.Linear(condition, 2 * features)) for _ in range(DEPTH))
        self.norms = nn.ModuleList(nn.GroupNorm(1, features, affine=False) for _ in range(DEPTH))
        self.convs = nn.ModuleList(nn.Conv2d(features, features, 3, padding=1) for _ in range(DEPTH))
        self.conv_out = zero(nn.Conv2d(features, channels, 3, padding=1))

    def forward(self, context: Tensor, noisy: Tensor, condition: Tensor) -> Tensor:
        """Return [B, C, H, W].

        Args:
            context: what the tokens say of each pixel [B, F, H, W].
            noisy: the network's input [B, C, H, W].
            condition: noise and class, activated [B, D].
        """
        h = self.conv_in(noisy) + context
        for modulation, norm, conv in zip(self.modulations, self.norms, self.convs, strict=True):
            shift, scale = modulation(condition)[:, :, None, None].chunk(2, dim=1)  # B F 1 1 each
            h = h + conv(F.silu(norm(h) * (1 + scale) + shift))
        return self.conv_out(F.silu(h))
