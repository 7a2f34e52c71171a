"""The scan of Mamba-2 by Triton's kernels, with the contract of `chunked_scan`; imported on a GPU alone.

What comes before and after them, and everything that they are not made for, is computed by `ssd.py`.

Letters: B batch, L tokens, H heads, G groups of heads, P width of a head, N width of the state.
"""
# ruff: noqa: N803, N806 -- the letters A, B, C, D are the paper's

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from triptych.backbones.state_space.chunked_scan import chunked_scan
from triptych.backbones.state_space.ssd import WIDEST, ssd
from triptych.backbones.state_space.triton_kernels import backward_kernel, forward_kernel

CHUNK = 32
"""Tokens per chunk. By the compiler's report for compute capability 8.0 and 9.0 the backward kernel does not
quite fit the registers; of 64 tokens, or with half as many warps, far more of it would not. Nothing was
timed."""

WARPS = 8
"""Of a program."""

NARROWEST = 16
"""The smallest side of a matrix that tensor cores multiply."""


def triton_scan(
    x: Tensor, B: Tensor, C: Tensor, own: Tensor, a: Tensor, log_dt: Tensor, reverse: tuple[bool, ...]
) -> Tensor:
    """Return what `chunked_scan` does, and in the same way where x is float64, or a head or state too wide.

    Args:
        x: [B, L, H, P], in half precision or float32, as are B and C.
        B: [B, L, G, N], one for each group of heads.
        C: [B, L, G, N].
        own: [B, L, H], float32.
        a: log-decays, at most 0, [B, L, H].
        log_dt: log-steps, [B, L, H].
        reverse: for each group, whether the sum is over all j > i.
    """
    dtype = reduce(torch.promote_types, (t.dtype for t in (x, B, C)))
    if dtype == torch.float64 or max(x.shape[3], B.shape[3]) > WIDEST:
        return chunked_scan(x, B, C, own, a, log_dt, reverse)
    return TritonScan.apply(*(t.to(dtype) for t in (x, B, C)), own, a, log_dt, reverse).to(x.dtype)


ssd_triton = partial(ssd, scan=triton_scan)
"""`ssd` by these kernels: products have the precision of x, B and C, all sums float32's or better."""


class TritonScan(torch.autograd.Function):
    """The scan of tensors of one dtype, of which the states between chunks are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        """Return y [B, L, H, P], given x, B, C, own, a, log_dt and the directions."""
        *given, reverse = arguments
        x, B, C, own, a, log_dt = (t.contiguous() for t in given)
        keep = any(ctx.needs_input_grad)
        chunks = -(-x.shape[1] // CHUNK) if keep else 1
        y = torch.empty_like(x)
        shape = (x.shape[0], x.shape[2], chunks - 1, B.shape[3], x.shape[3])
        states = x.new_empty(shape, dtype=kept_dtype(x))  # B H chunks-1 N P
        with torch.cuda.device_of(x):
            forward_kernel[programs(x)](
                *(x, B, C, own, a, log_dt, y, states), *sizes(x, B, reverse), KEEP=keep, **constants(x, B)
            )
        if keep:
            ctx.save_for_backward(x, B, C, own, a, log_dt, states)
        ctx.reverse = reverse
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients; triangles are computed again, states were kept."""
        x, B, _, own, a, log_dt, states = saved = ctx.saved_tensors
        dx, down, da, dlog_dt = map(torch.empty_like, (x, own, a, log_dt))
        # A sum over the heads of a group, in whatever order they come, would not be the same twice.
        dB, dC = x.new_empty(2, *x.shape[:3], B.shape[3], dtype=states.dtype)
        with torch.cuda.device_of(x):
            backward_kernel[programs(x)](
                *saved,
                *(dy.contiguous(), dx, dB, dC, down, da, dlog_dt),
                *sizes(x, B, ctx.reverse),
                **constants(x, B),
            )
        dB, dC = (t.unflatten(2, (B.shape[2], -1)).sum(3, dtype=torch.float32).to(B.dtype) for t in (dB, dC))
        return dx, dB, dC, down, da, dlog_dt, None


def programs(x: Tensor) -> tuple[int]:
    """Return how many programs there are for x [B, L, H, P]: one for each head of each image."""
    return (x.shape[0] * x.shape[2],)


def sizes(x: Tensor, B: Tensor, reverse: Sequence[bool]) -> tuple[int, ...]:
    """Return the sizes that kernels are given: L, H, G, a bit for each group that looks back, P and N."""
    ways = sum(backward << g for g, backward in enumerate(reverse))
    return x.shape[1], x.shape[2], B.shape[2], ways, x.shape[3], B.shape[3]


def constants(x: Tensor, B: Tensor) -> dict[str, Any]:
    """Return what kernels are compiled for."""
    width, state = (max(NARROWEST, 1 << (t.shape[3] - 1).bit_length()) for t in (x, B))
    half = "rounded" if x.device.type == "cpu" else "bf16"  # a processor has the interpreter alone
    kind = {torch.bfloat16: half, torch.float16: "tf32"}.get(x.dtype, "exact")
    sides = {"CHUNK": CHUNK, "WIDTH": width, "STATE": state}
    return {**sides, "KIND": kind, "num_warps": WARPS, "num_stages": 1}


def kept_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of what is kept: that of products, which for fp16 is wider than it."""
    return torch.bfloat16 if x.dtype == torch.bfloat16 else torch.float32
