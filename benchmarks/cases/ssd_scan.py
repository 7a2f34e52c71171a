"""The scan of Mamba-2 against attention of the same shape: time at three lengths, and how memory grows.

Letters: B batch, L tokens, H heads, G groups of heads, P width of a head, N width of the state.
"""
# ruff: noqa: N803, N806 -- the letters A, B, C are the paper's

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.comparison import Absent, Call, Case, Comparison, Variant
from benchmarks.peers import Peer, ssd_minimal
from benchmarks.work import differentiated
from triptych.backbones.state_space.ssd import ssd, ssd_mirrored
from triptych.commands.bench import BenchOptions

ATTENTION = "attention"
CHUNK = 64
"""Tokens per chunk of `ssd_minimal`: the value at which it is fastest."""
TIMED = {256: 16, 1024: 4, 4096: 1}
"""Batch by tokens: as many tokens in all each time."""
SERIES = (512, 1024, 2048, 4096)
"""Tokens of the sequences whose memory is compared, one sequence at a time."""


class Sizes(NamedTuple):
    """Sizes of a scan."""

    batch: int
    tokens: int
    heads: int = 12
    width: int = 64
    state: int = 64


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return a comparison for each length that is timed, then one for each of the series of memory."""
    peer = ssd_minimal(options.peers)
    small = {"heads": 2, "width": 8, "state": 8} if options.quick else {}
    timed = {64: 2} if options.quick else TIMED
    found = []
    for tokens, batch in timed.items():
        sizes = Sizes(options.batch or batch, tokens, **small)
        title = f"{tokens} tokens, {sizes.heads} heads x {sizes.width}, state {sizes.state}"
        found.append(Comparison(title, tokens, sizes.batch, ATTENTION, variants(sizes, peer)))
    for tokens in (64, 128) if options.quick else SERIES:
        sizes = Sizes(options.batch or 1, tokens, **small)
        ours = variants(sizes, peer)
        found.append(
            Comparison(
                *("memory", tokens, sizes.batch, ATTENTION, ours),
                timed=False,
                series=f"peak memory, batch {sizes.batch}",
                axis="tokens",
                size=tokens,
            )
        )
    return found


def variants(sizes: Sizes, peer: Peer | Absent) -> dict[str, Variant]:
    """Return attention, the scan's forms of ours, and the authors' listing."""
    theirs = (
        Variant(peer)
        if isinstance(peer, Absent)
        else Variant(lambda: minimal(sizes, peer), "ssd", f"one direction, chunks of {CHUNK}; {peer.note}")
    )
    both = "both directions, all heads twice"
    return {
        ATTENTION: Variant(lambda: attention(sizes), note="of all tokens to all, torch's fused operation"),
        "explicit softmax": Variant(lambda: softmax(sizes), ATTENTION, "the same, step by step"),
        "ssd": Variant(lambda: one_direction(sizes), note="one direction, one group"),
        "ssd split": Variant(
            lambda: split(sizes), note="both directions, half of the heads each, in one call"
        ),
        "ssd double": Variant(lambda: double(sizes), note=f"{both}, B, C and dt of their own"),
        "ssd mirrored": Variant(lambda: mirrored(sizes), note=f"{both}, B, C and dt shared"),
        "ssd_minimal": theirs,
    }


def tensors(sizes: Sizes, groups: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return x [B, L, H, P], dt [B, L, H], A [H], B and C [B, L, G, N], in the range that layers start in."""
    draw = torch.Generator().manual_seed(seed)
    b, length, h, p, n = sizes
    x = torch.randn(b, length, h, p, generator=draw)
    dt = torch.empty(b, length, h).uniform_(-6.9, -2.3, generator=draw).exp()  # 0.001 to 0.1
    A = -torch.empty(h).uniform_(1, 16, generator=draw)
    B, C = torch.randn(2, b, length, groups, n, generator=draw).unbind()
    return x, dt, A, B, C


def queries(sizes: Sizes) -> list[Tensor]:
    """Return queries, keys and values [B, H, L, P]."""
    draw = torch.Generator().manual_seed(0)
    return list(torch.randn(3, sizes.batch, sizes.heads, sizes.tokens, sizes.width, generator=draw).unbind())


def attention(sizes: Sizes) -> Call:
    """Return attention of the scan's shape."""
    return differentiated(F.scaled_dot_product_attention, queries(sizes))


def softmax(sizes: Sizes) -> Call:
    """Return the same step by step: its matrix of all pairs is what grows with the square."""

    def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1) @ v

    return differentiated(explicit, queries(sizes))


def one_direction(sizes: Sizes) -> Call:
    """Return the scan from the first token to the last."""
    return differentiated(ssd, tensors(sizes, groups=1))


def split(sizes: Sizes) -> Call:
    """Return the scan with half of the heads one way, half the other."""
    return differentiated(lambda *inputs: ssd(*inputs, reverse=(False, True)), tensors(sizes, groups=2))


def double(sizes: Sizes) -> Call:
    """Return two scans of the same x, one each way, added."""
    x, *forth = tensors(sizes, groups=1)
    back = tensors(sizes, groups=1, seed=1)[1:]

    def both(x: Tensor, *rest: Tensor) -> Tensor:
        (dt, A, B, C), (back_dt, back_A, back_B, back_C) = rest[:4], rest[4:]
        return ssd(x, dt, A, B, C) + ssd(x, back_dt, back_A, back_B, back_C, reverse=(True,))

    return differentiated(both, [x, *forth, *back])


def mirrored(sizes: Sizes) -> Call:
    """Return the scan both ways with one set of B, C and dt."""
    return differentiated(ssd_mirrored, tensors(sizes, groups=1))


def minimal(sizes: Sizes, peer: Peer) -> Call:
    """Return the authors' listing, which takes x dt and A dt."""
    chunk = min(CHUNK, sizes.tokens)

    def scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        return peer.module.ssd_minimal_discrete(x * dt[..., None], A * dt, B, C, chunk)[0]

    return differentiated(scan, tensors(sizes, groups=1))


CASE = Case("scan of Mamba-2 (SSD) against attention of the same shape, forward and backward", comparisons)
