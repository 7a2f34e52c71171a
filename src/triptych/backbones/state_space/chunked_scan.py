"""The scan of Mamba-2 by matrix products, chunk by chunk (arXiv 2405.21060, section 6), forward and backward.

Inside a chunk the tokens are multiplied by a triangular matrix; what came before it enters by the state. All
heads of a group share B and C, so that their states are one wide matrix product. Log-decays are float64, and
the gradient of each is the sum of just the terms that it is part of.

Letters: B batch, L tokens, H heads, G groups of heads, P width of a head, N width of the state, Q tokens of a
chunk.
"""
# ruff: noqa: N803, N806 -- the letters B and C are the paper's

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from triptych.backbones.state_space import chunks_at_once, chunks_in_turn


def chunked_scan(
    x: Tensor, B: Tensor, C: Tensor, own: Tensor, a: Tensor, log_dt: Tensor, reverse: tuple[bool, ...]
) -> Tensor:
    """Return y_i = own_i x_i + sum_j exp(c_i - c_j) dt_j (C_i . B_j) x_j over all j < i, [B, L, H, P].

    In the precision of x, and computed in float32 where that is less.

    Args:
        x: [B, L, H, P].
        B: [B, L, G, N], one for each group of heads.
        C: [B, L, G, N].
        own: float32 or float64 [B, L, H].
        a: log-decays, whose running sum is c, [B, L, H].
        log_dt: log-steps, of the same precision as a, [B, L, H].
        reverse: for each group, whether the sum is over all j > i, and c runs from the last token on.
    """
    precise = torch.promote_types(x.dtype, torch.float32)
    x_wide, B_wide, C_wide = (t.to(precise) for t in (x, B, C))
    tensors = (x_wide, B_wide, C_wide, own, a, log_dt)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return ChunkedScan.apply(*tensors, reverse).to(x.dtype)
    y = torch.empty_like(x_wide, memory_format=torch.contiguous_format)
    scan_group = way_of(x).scan_group
    for group in by_group((x_wide, own, a, log_dt, y), (B_wide, C_wide), reverse):
        scan_group(*group, keep=False)
    return y.to(x.dtype)


def way_of(x: Tensor) -> ModuleType:
    """Return how the chunks of x [B, L, H, P] are computed: one after another, or all at once."""
    return chunks_at_once if chunks_at_once.fits(x) else chunks_in_turn


class ChunkedScan(torch.autograd.Function):
    """`chunked_scan` with a backward pass of its own, from the inputs and the states between chunks."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        B: Tensor,
        C: Tensor,
        own: Tensor,
        a: Tensor,
        log_dt: Tensor,
        reverse: tuple[bool, ...],
    ) -> Tensor:
        """Return y [B, L, H, P] for x of that shape, B and C [B, L, G, N], own, a and log_dt [B, L, H]."""
        y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        groups = by_group((x, own, a, log_dt, y), (B, C), reverse)
        states = [way_of(x).scan_group(*group, keep=True) for group in groups]
        ctx.save_for_backward(x, B, C, own, a, log_dt, *states)
        ctx.reverse = reverse
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients; triangles are computed again, states were kept."""
        x, B, C, own, a, log_dt, *states = ctx.saved_tensors
        dx, dB, dC, da, dlog_dt = map(torch.empty_like, (x, B, C, a, log_dt))
        groups = by_group((x, own, a, log_dt, dy, dx, da, dlog_dt), (B, C, dB, dC), ctx.reverse)
        for group, kept in zip(groups, states, strict=True):
            way_of(x).scan_group_backward(*group, kept)
        return dx, dB, dC, torch.linalg.vecdot(x, dy), da, dlog_dt, None


def by_group(
    headed: Sequence[Tensor], grouped: Sequence[Tensor], reverse: Sequence[bool]
) -> Iterator[tuple[Any, ...]]:
    """Return, for each group, views of tensors [B, L, H, ...] and [B, L, G, ...], and its direction."""
    heads = headed[0].shape[2] // len(reverse)
    for g, backward in enumerate(reverse):
        own_heads = slice(g * heads, (g + 1) * heads)
        yield *(t[:, :, own_heads] for t in headed), *(t[:, :, g] for t in grouped), backward
