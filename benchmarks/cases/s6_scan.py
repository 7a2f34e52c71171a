"""The selective scan of Mamba against two others in torch: a parallel one, and the authors' own reference.

Letters: B batch, L tokens, D channels, N numbers of the state per channel.
"""
# ruff: noqa: N806 -- the letters A, B, C are the paper's

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.comparison import Absent, Call, Case, Comparison, Variant
from benchmarks.peers import Peer, mamba_py, selective_scan_ref
from benchmarks.work import differentiated, output_gradient
from triptych.backbones.state_space.selective_scan import selective_scan
from triptych.commands.bench import BenchOptions

OURS = "triptych"
ROUNDS = 9
"""The reference takes many seconds: as few as leave an interval between the second and the last but one."""


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return a comparison for each batch; the reference takes part in the smaller one."""
    tokens, channels, state = (16, 8, 4) if options.quick else (256, 768, 16)
    parallel, reference = mamba_py(options.peers), selective_scan_ref(options.peers)
    found = []
    usual = (2,) if options.quick else (4, 16)
    for batch in (options.batch,) if options.batch else usual:
        shape = (batch, tokens, channels, state)
        variants = {
            OURS: Variant(lambda shape=shape: ours(*shape)),
            "mamba.py, parallel scan": variant(parallel, theirs_parallel, shape),
        }
        if batch <= 4:
            variants["mamba, selective_scan_ref"] = variant(reference, theirs_reference, shape)
        title = f"{tokens} tokens, {channels} channels, state {state}"
        found.append(Comparison(title, tokens, batch, OURS, variants, ROUNDS))
    return found


def variant(peer: Peer | Absent, make: Callable[..., Call], shape: tuple[int, int, int, int]) -> Variant:
    """Return a peer's variant, or why there is none."""
    return Variant(peer) if isinstance(peer, Absent) else Variant(lambda: make(peer, *shape), OURS, peer.note)


def tensors(batch: int, tokens: int, channels: int, state: int) -> tuple[Tensor, ...]:
    """Return x and dt [B, L, D], A [D, N], B and C [B, L, N], in the range that layers start in."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(batch, tokens, channels, generator=draw)
    dt = torch.empty(batch, tokens, channels).uniform_(-6.9, -2.3, generator=draw).exp()  # 0.001 to 0.1
    A = -torch.arange(1.0, state + 1).repeat(channels, 1)
    B, C = torch.randn(2, batch, tokens, state, generator=draw).unbind()
    return x, dt, A, B, C


def ours(batch: int, tokens: int, channels: int, state: int) -> Call:
    """Return our scan."""
    return differentiated(selective_scan, tensors(batch, tokens, channels, state))


def theirs_parallel(peer: Peer, batch: int, tokens: int, channels: int, state: int) -> Call:
    """Return mamba.py's scan as its layer calls it, without a direct path."""
    direct = torch.zeros(channels)

    def scan(*inputs: Tensor) -> Tensor:
        return peer.module.MambaBlock.selective_scan(None, *inputs, direct)

    return differentiated(scan, tensors(batch, tokens, channels, state))


def theirs_reference(peer: Peer, batch: int, tokens: int, channels: int, state: int) -> Call:
    """Return the authors' reference, which has tokens last."""
    x, dt, A, B, C = tensors(batch, tokens, channels, state)
    last = [t.mT.contiguous() for t in (x, dt, B, C)]

    def tokens_first(y: Tensor, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        dx, ddt, dA, dB, dC = gradients
        return y.mT, dx.mT, ddt.mT, dA, dB.mT, dC.mT

    inputs = [last[0], last[1], A, last[2], last[3]]
    dy = output_gradient(*x.shape).mT.contiguous()
    return differentiated(peer.module.selective_scan_ref, inputs, dy, tokens_first)


CASE = Case("selective scan of Mamba, forward and backward", comparisons)
