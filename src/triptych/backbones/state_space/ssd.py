"""The scan of Mamba-2 (SSD, arXiv 2405.21060): the recurrence as it stands, and the same by matrix products.

Each head keeps a matrix S that decays, takes up the token at hand, and is read:

    S_i = exp(a_i) S_{i-1} + dt_i B_i x_i^T,    y_i = C_i S_i + D x_i,    a_i = dt_i A < 0.

Unrolled, with c_i = a_1 + ... + a_i, it is the product with a lower triangular matrix (equation 3):

    y_i = D x_i + sum_{j <= i} exp(c_i - c_j) dt_j (C_i . B_j) x_j.

Letters: B batch, L tokens, H heads, G groups of heads, P width of a head, N width of the state.
"""
# ruff: noqa: N803, N806 -- the letters A, B, C, D are the paper's

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from triptych.backbones.state_space.chunked_scan import chunked_scan
from triptych.devices import precise_dtype
from triptych.precision import without_autocast

WIDEST = 64
"""The widest head and state of its Triton kernels: wider ones fill more memory than a GPU's core has."""


def ssd_reference(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    reverse: Sequence[bool] = (False,),
) -> Tensor:
    """Return the scan by its recurrence, token by token; arguments as for `ssd`."""
    heads = x.shape[2] // len(reverse)
    B, C = B.repeat_interleave(heads, 2), C.repeat_interleave(heads, 2)  # B L H N
    y = []
    for head, backward in enumerate(r for r in reverse for _ in range(heads)):
        state = x.new_zeros(x.shape[0], B.shape[3], x.shape[3])  # B N P
        decay = torch.exp(dt[:, :, head] * A[head])  # B L
        taken = B[:, :, head, :, None] * (dt[:, :, head, None] * x[:, :, head])[:, :, None]  # B L N P
        tokens = list(zip(decay.unbind(1), taken.unbind(1), C[:, :, head].unbind(1), strict=True))
        read = []
        for kept, new, c in reversed(tokens) if backward else tokens:
            state = kept[:, None, None] * state + new
            read.append(torch.einsum("bn,bnp->bp", c, state))
        y.append(torch.stack(read[::-1] if backward else read, dim=1))  # B L P
    gathered = torch.stack(y, dim=2)  # B L H P
    return gathered if D is None else gathered + D[:, None] * x


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    reverse: Sequence[bool] = (False,),
    scan: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Return y [B, L, H, P], what each token gathers from itself and from those before it.

    Heads come in G equal groups, which share B and C, and of which each may look the other way.

    Args:
        x: what is taken up, [B, L, H, P].
        dt: how much of it, positive, [B, L, H].
        A: how fast each head forgets, negative, [H].
        B: where in the state it is written, [B, L, G, N].
        C: where in the state is read, [B, L, G, N].
        D: how much of its own x each token gets in addition, [H]; None: nothing.
        reverse: for each group, whether it gathers from the tokens behind, from the last on.
        scan: what computes it, called as `chunked_scan` is; None: that.
    """
    direct = x.new_zeros(x.shape[2]) if D is None else D
    return _scan(x, dt, _log_decay(dt, A), B, C, direct, reverse, scan)


def ssd_mirrored(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None) -> Tensor:
    """Return D x_i + sum_j exp(-|c_i - c_j|) dt_j (C_i . B_j) x_j: both directions with one set of decays.

    Arguments and result as for `ssd` with one group.
    """
    a = _log_decay(dt, A)
    direct = x.new_zeros(x.shape[2]) if D is None else D
    forward = _scan(x, dt, a, B, C, direct, (False,))
    # Between two tokens lies the decay of the later one, also read backwards, where the recurrence would have
    # that of the one that comes later in its own order: so decays stand one place further on.
    shifted = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1)
    return forward + _scan(x, dt, shifted, B, C, None, (True,))


def mirrored_reference(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None
) -> Tensor:
    """Return what `ssd_mirrored` does, by its whole matrix [B, H, L, L]."""
    c = (dt * A).cumsum(1).mT  # B H L
    strength = torch.exp(-(c[..., :, None] - c[..., None, :]).abs()) * dt.mT[:, :, None]
    gathered = torch.einsum("bhij,bin,bjn,bjhp->bihp", strength, C[:, :, 0], B[:, :, 0], x)
    return gathered if D is None else gathered + D[:, None] * x


def _log_decay(dt: Tensor, A: Tensor) -> Tensor:
    """Return a = dt A, [B, L, H]: float32 sums of many would lose the gradients of the few.

    In float64, where the device has it.
    """
    precise = precise_dtype(dt.device)
    return dt.to(precise) * A.to(precise)


def _scan(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    reverse: Sequence[bool],
    scan: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Scan without autocast: the network's precision is not that of its sums.

    Without the share that each token has in its own where D is None.
    """
    groups, heads = B.shape[2], x.shape[2]
    if len(reverse) != groups or heads % groups:
        raise ValueError(f"{groups} groups of {heads} heads need {groups} directions, not {len(reverse)}")
    single = torch.promote_types(x.dtype, torch.float32)
    with without_autocast(x.device):
        own = torch.zeros_like(dt, dtype=single)
        if D is not None:  # dt_i (C_i . B_i) + D, of x_i
            tied = torch.linalg.vecdot(B.to(single), C.to(single))
            ties = tied.repeat_interleave(heads // groups, dim=2)  # B L H
            own = torch.addcmul(D.to(single), dt.to(single), ties)
        # A step of exactly zero takes up nothing; its logarithm is to stay a number.
        log_dt = dt.to(a.dtype).clamp(min=torch.finfo(torch.float32).tiny).log()
        return (scan or chunked_scan)(x, B, C, own, a, log_dt, tuple(reverse))
