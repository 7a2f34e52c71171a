"""Gate and normalisation behind a scan, as one operation: most of their time goes into reading memory.

Letters: B batch, L tokens, I their width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from triptych.precision import without_autocast


class GatedNorm(nn.Module):
    """y silu(z), scaled to mean square 1 and by learned gains (Mamba-2, arXiv 2405.21060, section 7).

    Args:
        width: of the tokens.
        eps: added to the mean square.
    """

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """Return tokens [B, L, I] in the precision of y, given tokens y and their gates z of that shape.

        Squares of half-precision numbers soon leave its range, so that all of it is computed in float32.
        """
        single = torch.promote_types(y.dtype, torch.float32)
        with without_autocast(y.device):
            normed = GatedNormFunction.apply(y.to(single), z.to(single), self.weight.to(single), self.eps)
        return normed.to(y.dtype)


def gated_norm_reference(y: Tensor, z: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return what `GatedNorm` does, by its parts."""
    return F.rms_norm(y * F.silu(z), weight.shape, weight, eps)


class GatedNormFunction(torch.autograd.Function):
    """The same, of tensors of one dtype; its backward pass computes gates again and works in place."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, z: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Return [B, L, I] for y and z of that shape and weights [I]; see `GatedNorm`."""
        gated = F.silu(z).mul_(y)
        scale = (torch.linalg.vecdot(gated, gated) / gated.shape[-1] + eps).rsqrt()[..., None]  # B L 1
        ctx.save_for_backward(y, z, weight, scale)
        return gated.mul_(scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of y, z and the weights."""
        y, z, weight, scale = ctx.saved_tensors
        with without_autocast(y.device):
            gate = F.silu(z)
            gated = gate * y
            inner = gated * d  # B L I
            dweight = scale.flatten() @ inner.flatten(0, -2)
            # d gated = scale (w d - gated scale^2 mean(w d gated))
            along = (inner @ weight)[..., None] * scale.pow(3) / -y.shape[-1]  # B L 1
            dgated = torch.mul(d, scale, out=inner).mul_(weight).addcmul_(gated, along)
            dz = torch.ops.aten.silu_backward(torch.mul(dgated, y, out=gated), z)
            return dgated.mul_(gate), dz, dweight, None
