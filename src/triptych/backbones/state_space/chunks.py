"""What goes on inside a chunk of the scan of Mamba-2, and what ties it to the states before and behind.

Letters: B batch, H heads, P width of a head, N width of the state, Q tokens of a chunk.
"""
# ruff: noqa: N803 -- the letters B and C are the paper's

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 64
"""Tokens per chunk: more make larger triangles, fewer make more states, and more and shorter operations."""

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


def inside(chunk: Chunk, x: Tensor, B: Tensor, C: Tensor, own: Tensor, reverse: bool) -> Tensor:
    """Return what the tokens of a chunk gather from each other and from themselves, [B, Q, H, P]."""
    matrix = triangle(chunk, reverse, x.dtype)  # B H Q Q
    matrix *= torch.bmm(C, B.mT)[:, None]
    matrix.diagonal(dim1=2, dim2=3).copy_(own.mT)
    return torch.matmul(matrix, heads_first(x)).transpose(1, 2)


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
