"""The chunks of a scan all at once, as images of one batch: for devices that are slow to start an operation.

Inside, no chunk depends on another. Only states pass from one to the next, and their gradients back. It takes
a sixth of the operations of `chunks_in_turn` for eight chunks, and the memory of all triangles at a time.

Letters: B batch, L tokens, K chunks, H heads, P width of a head, N width of the state, Q tokens of a chunk.
"""
# ruff: noqa: N803, N806 -- the letters B and C are the paper's

from __future__ import annotations

from itertools import pairwise

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


def fits(x: Tensor) -> bool:
    """Whether the tokens of x [B, L, H, P] are cut into whole chunks, on a device that is better off so."""
    return x.device.type != "cpu" and x.shape[1] % CHUNK == 0


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
    """Write y [B, L, H, P] of one group, and return its states before each chunk, [B, K, N, HP].

    All of them are there, whether they are to be kept or not.
    """
    images, h, width = x.shape[0], *x.shape[2:]
    x, own, a, log_dt, B, C = map(folded, (x, own, a, log_dt, B, C))
    (chunk,) = chunks(a, log_dt, reverse, CHUNK)
    gathered = inside(chunk, x, B, C, own, reverse)  # BK Q H P
    written = torch.bmm(B.mT, (x * weight(chunk.written, x)).flatten(2))  # BK N HP
    kept = weight(chunk.kept, x).unflatten(0, (images, -1))  # B K 1 H 1
    states = passed(written.unflatten(0, (images, -1)), kept, h, reverse)
    carried = torch.bmm(C, states.flatten(0, 1)).unflatten(2, (h, width))
    written_to(y, torch.addcmul(gathered, carried, weight(chunk.read, x)))
    return states


def passed(written: Tensor, kept: Tensor, heads: int, reverse: bool) -> Tensor:
    """Return the state before each chunk, [B, K, N, HP]: what those before it wrote, decayed on the way.

    Args:
        written: what each chunk adds to the state, [B, K, N, HP].
        kept: what it leaves of it, [B, K, 1, H, 1].
        heads: H.
        reverse: whether the state passes from the last chunk to the first.
    """
    states = torch.empty_like(written)
    order = list(range(written.shape[1]))
    if reverse:
        order.reverse()
    states[:, order[0]].zero_()
    for before, behind in pairwise(order):
        left = by_head(states[:, before], heads) * kept[:, before]
        torch.add(by_head(written[:, before], heads), left, out=by_head(states[:, behind], heads))
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
    images, h = x.shape[0], x.shape[2]
    x, own, a, log_dt, dy, B, C = map(folded, (x, own, a, log_dt, dy, B, C))
    (chunk,) = chunks(a, log_dt, reverse, CHUNK)
    dx_t, dB_t, dC_t, da_t = backward_inside(chunk, x, B, C, dy, reverse)
    before = states.flatten(0, 1)  # BK N HP
    read = dy * weight(chunk.read, x)  # BK Q H P
    reading = torch.bmm(C.mT, read.flatten(2)).unflatten(0, (images, -1))  # B K N HP
    kept = weight(chunk.kept, x).unflatten(0, (images, -1))  # B K 1 H 1
    # The gradient goes the other way: of the state behind each chunk.
    behind = passed(reading, kept, h, not reverse).flatten(0, 1)  # BK N HP
    written = weight(chunk.written, x)  # BK Q H 1
    reached = torch.bmm(B, behind).unflatten(2, (h, -1)) * written  # BK Q H P
    dx_t = reached + dx_t
    dB_t.baddbmm_((x * written).flatten(2), behind.mT)
    da_t += earlier(torch.linalg.vecdot(x, reached).to(a.dtype), reverse)
    carried = torch.bmm(C, before).unflatten(2, (h, -1))
    da_t += later(torch.linalg.vecdot(read, carried).to(a.dtype), reverse)
    dC_t.baddbmm_(read.flatten(2), before.mT)
    through = by_head(behind, h) * kept.flatten(0, 1) * by_head(before, h)  # BK N H P
    da_t += through.sum((1, 3))[:, None]
    written_to(dlog_dt, torch.linalg.vecdot(x, dx_t))
    written_to(dx, torch.addcmul(dx_t, dy, own[..., None]))
    for place, found in ((dB, dB_t), (dC, dC_t), (da, da_t)):
        written_to(place, found)


def folded(t: Tensor) -> Tensor:
    """Return t [B, L, ...] with each chunk as an image of its own, [BK, Q, ...]."""
    return t.unflatten(1, (-1, CHUNK)).flatten(0, 1)


def written_to(place: Tensor, found: Tensor) -> None:
    """Write what was found of each chunk, [BK, Q, ...], into its place [B, L, ...]."""
    place.unflatten(1, (-1, CHUNK)).copy_(found.unflatten(0, (len(place), -1)))
