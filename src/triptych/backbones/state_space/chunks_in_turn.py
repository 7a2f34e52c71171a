"""The chunks of a scan one after another, each small enough for a processor's cache.

Letters: B batch, L tokens, H heads, P width of a head, N width of the state, Q tokens of a chunk.
"""
# ruff: noqa: N803, N806 -- the letters B and C are the paper's

from __future__ import annotations

import torch
from torch import Tensor

from triptych.backbones.state_space.chunks import (
    CHUNK,
    backward_inside,
    by_head,
    chunks,
    earlier,
    inside,
    later,
    weight,
)

BUSY = 2048
"""Numbers per token, of all images together, from which half as many tokens make operations long enough."""


def chunk_length(x: Tensor) -> int:
    """Return the number of tokens per chunk that is fastest for x [B, L, H, P] on a processor."""
    return CHUNK // 2 if x[:, 0].numel() >= BUSY else CHUNK


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
        gathered = inside(chunk, x[:, t], B[:, t], C[:, t], own[:, t], reverse)  # B Q H P
        if k == 0:
            y[:, t] = gathered
        else:
            carried = torch.bmm(C[:, t], before).unflatten(2, (h, width))
            torch.addcmul(gathered, carried, weight(chunk.read, x), out=y[:, t])
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
