"""The scan of Mamba-2 by matrix products, chunk by chunk (arXiv 2405.21060, section 6), forward and backward.

Inside a chunk the tokens are multiplied by a triangular matrix; what came before it enters by the state. All
heads of a group share B and C, so that their states are one wide matrix product. Log-decays are float64, and
the gradient of each is the sum of just the terms that it is part of.

Letters: B batch, L tokens, H heads, G groups of heads, P width of a head, N width of the state, Q tokens of a
chunk.
"""
# ruff: noqa: N803, N806 -- the letters B and C are the paper's

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 64
"""Tokens per chunk: more make larger triangles, fewer make more states, and more and shorter operations."""

BUSY = 2048
"""Numbers per token, of all images together, from which half as many tokens make operations long enough."""

LOG2_E = math.log2(math.e)


class Chunk(NamedTuple):
    """Some tokens, and how strongly they are tied to each other, to the state before and to that behind."""

    tokens: slice
    read: Tensor
    """Log-weight of the state before the chunk in each token, [B, Q, H]."""
    taken: Tensor
    """Log-weight of each token, less what it has in common with the later ones' `read`, [B, Q, H]."""
    written: Tensor
    """Log-weight of each token in the state behind the chunk, [B, Q, H]."""
    kept: Tensor
    """Log-weight of the state before the chunk in that behind it, [B, 1, H]."""


def chunk_length(x: Tensor) -> int:
    """Return the number of tokens per chunk that is fastest for x [B, L, H, P] on a processor."""
    return CHUNK // 2 if x[:, 0].numel() >= BUSY else CHUNK


def chunks(a: Tensor, log_dt: Tensor, reverse: bool, length: int) -> list[Chunk]:
    """Cut tokens of log-decays a and log-steps log_dt [B, L, H], in the order in which the state passes."""
    cut = []
    starts = range(0, a.shape[1], length)
    for start in reversed(starts) if reverse else starts:
        tokens = slice(start, start + length)
        c = a[:, tokens].flip(1).cumsum(1).flip(1) if reverse else a[:, tokens].cumsum(1)
        whole = c[:, :1] if reverse else c[:, -1:]
        taken = log_dt[:, tokens] - c
        cut.append(Chunk(tokens, c, taken, taken + whole, whole))
    return cut


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
    for group in by_group((x_wide, own, a, log_dt, y), (B_wide, C_wide), reverse):
        scan_group(*group, keep=False)
    return y.to(x.dtype)


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
        states = [scan_group(*group, keep=True) for group in groups]
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
            scan_group_backward(*group, kept)
        return dx, dB, dC, torch.linalg.vecdot(x, dy), da, dlog_dt, None


def by_group(
    headed: Sequence[Tensor], grouped: Sequence[Tensor], reverse: Sequence[bool]
) -> Iterator[tuple[Any, ...]]:
    """Return, for each group, views of tensors [B, L, H, ...] and [B, L, G, ...], and its direction."""
    heads = headed[0].shape[2] // len(reverse)
    for g, backward in enumerate(reverse):
        own_heads = slice(g * heads, (g + 1) * heads)
        yield *(t[:, :, own_heads] for t in headed), *(t[:, :, g] for t in grouped), backward


def scan_group(
    x: Tensor,
    own: Tensor,
    a: Tensor,
    log_dt: Tensor,
    y: Tensor,
    B: Tensor,
    C: Tensor,
    reverse: bool,
    keep: bool,
) -> Tensor:
    """Write y [B, L, H, P] of one group, and return its states before each chunk, [chunks, B, N, HP].

    Unless they are to be kept, there are only the last two.
    """
    h, width = x.shape[2:]
    cut = chunks(a, log_dt, reverse, chunk_length(x))
    states = x.new_empty(len(cut) if keep else 2, x.shape[0], B.shape[2], h * width)
    states[0].zero_()
    for k, chunk in enumerate(cut):
        t = chunk.tokens
        before, behind = states[k % len(states)], states[(k + 1) % len(states)]
        matrix = triangle(chunk, reverse, x.dtype)  # B H Q Q
        matrix *= torch.bmm(C[:, t], B[:, t].mT)[:, None]
        matrix.diagonal(dim1=2, dim2=3).copy_(own[:, t].mT)
        inside = torch.matmul(matrix, heads_first(x[:, t])).transpose(1, 2)  # B Q H P
        if k == 0:
            y[:, t] = inside
        else:
            carried = torch.bmm(C[:, t], before).unflatten(2, (h, width))
            torch.addcmul(inside, carried, weight(chunk.read, x), out=y[:, t])
        if k + 1 < len(cut):
            taken = (x[:, t] * weight(chunk.written, x)).flatten(2)  # B Q HP
            torch.bmm(B[:, t].mT, taken, out=behind)
            by_head(behind, h).addcmul_(by_head(before, h), weight(chunk.kept, x))
    return states


def scan_group_backward(
    x: Tensor,
    own: Tensor,
    a: Tensor,
    log_dt: Tensor,
    dy: Tensor,
    dx: Tensor,
    da: Tensor,
    dlog_dt: Tensor,
    B: Tensor,
    C: Tensor,
    dB: Tensor,
    dC: Tensor,
    reverse: bool,
    states: Tensor,
) -> None:
    """Write the gradients dx, da, dlog_dt, dB and dC of one group, given that of y."""
    h = x.shape[2]
    cut = chunks(a, log_dt, reverse, chunk_length(x))
    behind = torch.zeros_like(states[0])  # gradient of the state behind the chunk, B N HP
    for k, chunk in reversed(list(enumerate(cut))):
        t = chunk.tokens
        x_t, dy_t = x[:, t], dy[:, t]
        dx_t, dB_t, dC_t, da_t = backward_inside(chunk, x_t, B[:, t], C[:, t], dy_t, reverse)
        if k + 1 < len(cut):  # by the state behind
            written = weight(chunk.written, x)  # B Q H 1
            reached = torch.bmm(B[:, t], behind).unflatten(2, (h, -1)) * written  # B Q H P
            dx_t = reached + dx_t
            dB_t.baddbmm_((x_t * written).flatten(2), behind.mT)
            da_t += earlier(torch.linalg.vecdot(x_t, reached).to(a.dtype), reverse)
        if k > 0:  # by the state before
            read = dy_t * weight(chunk.read, x)  # B Q H P
            carried = torch.bmm(C[:, t], states[k]).unflatten(2, (h, -1))
            da_t += later(torch.linalg.vecdot(read, carried).to(a.dtype), reverse)
            dC_t.baddbmm_(read.flatten(2), states[k].mT)
            before = torch.bmm(C[:, t].mT, read.flatten(2))  # B N HP
            if k + 1 < len(cut):  # from the one to the other
                passed = by_head(behind, h) * weight(chunk.kept, x)  # B N H P
                da_t += (passed * by_head(states[k], h)).sum((1, 3))[:, None]
                by_head(before, h).add_(passed)
            behind = before
        dlog_dt[:, t] = torch.linalg.vecdot(x_t, dx_t)
        torch.addcmul(dx_t, dy_t, own[:, t, :, None], out=dx[:, t])
        dB[:, t], dC[:, t], da[:, t] = dB_t, dC_t, da_t


def backward_inside(
    chunk: Chunk, x: Tensor, B: Tensor, C: Tensor, dy: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what a chunk's triangle, without its diagonal, adds to the gradients of x, B, C and a.

    Token k's decay is part of every weight from a token before k to k or one behind it. Summing just these
    terms is what keeps its gradient exact: differences of sums over all terms would lose it.
    """
    strength = triangle(chunk, reverse, x.dtype)  # B H Q Q
    ties = torch.bmm(C, B.mT)[:, None]  # B 1 Q Q
    dy_first = heads_first(dy)  # B H Q P
    terms = torch.matmul(dy_first, heads_first(x).mT).mul_(strength)  # B H Q Q
    dties = terms.sum(1)  # B Q Q
    dx = torch.matmul(strength.mul_(ties).mT, dy_first).transpose(1, 2)  # B Q H P
    terms *= ties
    size = x.shape[1]
    before = torch.ones(size, size, dtype=x.dtype, device=x.device).tril(-1)  # [k, j]: j before k
    before = before.mT if reverse else before
    reached = torch.matmul(terms, before.mT)  # B H Q Q, [i, k]: over all j before k
    da = reached.mul_(1 - before.mT).sum(2)  # B H Q, over all i not before k
    return dx, torch.bmm(dties.mT, C), torch.bmm(dties, B), da.mT.to(chunk.read.dtype)


def triangle(chunk: Chunk, reverse: bool, dtype: torch.dtype) -> Tensor:
    """Return exp(c_i - c_j) dt_j for the tokens of a chunk, [B, H, Q, Q], and 0 where j does not come first.

    The sum of two float64 numbers, each split into a float32 and its remainder: as exact as in float64,
    without a matrix of float64. Where j does not come first, it may be beyond any number.
    """
    # Powers of 2: torch's exp takes four times as long as its exp2.
    read, taken = (LOG2_E * chunk.read).mT[..., :, None], (LOG2_E * chunk.taken).mT[..., None, :]
    read_main, taken_main = read.to(dtype), taken.to(dtype)
    log_weight = read_main + taken_main  # B H Q Q
    if dtype != read.dtype:
        log_weight += (read - read_main).to(dtype)
        log_weight += (taken - taken_main).to(dtype)
    size = read.shape[2]
    uncounted = torch.ones(size, size, dtype=torch.bool, device=read.device)
    uncounted = uncounted.tril() if reverse else uncounted.triu()
    return log_weight.masked_fill_(uncounted, -torch.inf).exp2_()


def earlier(terms: Tensor, reverse: bool) -> Tensor:
    """Return, for each token of a chunk, the sum of terms [B, Q, H] over those before it."""
    sums = terms.flip(1).cumsum(1).flip(1) if reverse else terms.cumsum(1)
    return sums - terms


def later(terms: Tensor, reverse: bool) -> Tensor:
    """Return, for each token of a chunk, the sum of terms [B, Q, H] over itself and those behind it."""
    return terms.cumsum(1) if reverse else terms.flip(1).cumsum(1).flip(1)


def weight(log_weight: Tensor, like: Tensor) -> Tensor:
    """Return log-weights [B, Q, H] or [B, 1, H] as factors of [B, Q, H, P] or [B, N, H, P]."""
    return log_weight.exp().to(like.dtype)[..., None]


def by_head(state: Tensor, heads: int) -> Tensor:
    """Return a view [B, N, H, P] of a state [B, N, HP]."""
    return state.unflatten(2, (heads, -1))


def heads_first(x: Tensor) -> Tensor:
    """Return [B, H, Q, P] for x [B, Q, H, P], ready for a product per head."""
    return x.transpose(1, 2).contiguous()
