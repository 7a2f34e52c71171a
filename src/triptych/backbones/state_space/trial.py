"""What an implementation of a scan is tried on, and how: does it agree with ours, and is it faster?

Letters: B batch, L tokens, D channels, N numbers of the state per channel.
"""
# ruff: noqa: N806 -- the letter A is the papers'

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from triptych.devices import synchronize

Scan = Callable[..., Tensor]
"""A function of the scan's tensors and of `reverse`: one direction, or of Mamba-2 one for each group."""

ROUNDS = 5
"""Calls of each that are timed, in turn: the shortest counts, which nothing else held up."""


def difference(
    ours: Scan, theirs: Scan, inputs: Sequence[Tensor], directions: Sequence[object], tolerance: float
) -> str:
    """Return where two implementations differ in values or gradients, in any direction; or nothing.

    Args:
        ours: what is right.
        theirs: what is held to it.
        inputs: of both.
        directions: the values of `reverse` with which they are called.
        tolerance: largest difference at which they agree, relative to the largest entry of each tensor.
    """
    for reverse in directions:
        pairs = zip(results(ours, inputs, reverse), results(theirs, inputs, reverse), strict=True)
        for k, (expected, found) in enumerate(pairs):
            what = f"gradient {k} of {len(inputs)}" if k else "the result"
            if found.shape != expected.shape:
                return f"{what} has the shape {tuple(found.shape)}, not {tuple(expected.shape)}"
            apart = float((found - expected).float().abs().max() / expected.float().abs().max())
            if not apart <= tolerance:  # a NaN is no agreement
                return f"{what} differs by {apart:.1g} of its largest entry"
    return ""


def slowness(ours: Scan, theirs: Scan, inputs: Sequence[Tensor], reverse: object) -> str:
    """Return what both take, forward and backward, where `theirs` is not the faster one; or nothing."""
    scans = (ours, theirs)
    for scan in scans:  # what is made ready once takes time of its own
        _seconds(scan, inputs, reverse)
    rounds = [[_seconds(scan, inputs, reverse) for scan in scans] for _ in range(ROUNDS)]
    mine, other = (1e3 * min(spent) for spent in zip(*rounds, strict=True))
    return "" if other < mine else f"{other:.2f} ms for {mine:.2f}"


def _seconds(scan: Scan, inputs: Sequence[Tensor], reverse: object) -> float:
    """Return what a call takes, forward and backward, the host's part included."""
    device = inputs[0].device
    synchronize(device)
    begun = time.perf_counter()
    results(scan, inputs, reverse, inputs[0])  # any gradient of this shape will do
    synchronize(device)
    return time.perf_counter() - begun


def results(
    scan: Scan, inputs: Sequence[Tensor], reverse: object, gradient: Tensor | None = None
) -> list[Tensor]:
    """Return the scan of the inputs, and their gradients for one of the scan, which is fixed if not given."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    y = scan(*leaves, reverse=reverse)
    dy = waves(y.shape, 0.9, y.device).to(y.dtype) if gradient is None else gradient
    return [y.detach(), *torch.autograd.grad(y, leaves, dy)]


def waves(shape: Sequence[int], frequency: float, device: torch.device) -> Tensor:
    """Return numbers in [-1, 1] that are alike on every device and disturb no generator."""
    numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (numbers * frequency).sin().to(torch.float32).reshape(shape).to(device)


def selective_scan_problem(device: torch.device) -> tuple[Tensor, ...]:
    """Return x, dt, A, B, C of a small selective scan: B 2, L 37, D 8, N 16; decays from weak to strong."""
    x = waves((2, 37, 8), 1.3, device)
    dt = (3 * waves((2, 37, 8), 0.7, device) - 2).exp()
    A = -(2 * waves((8, 16), 1.7, device)).exp()
    return x, dt, A, waves((2, 37, 16), 2.1, device), waves((2, 37, 16), 0.3, device)


def ssd_problem(device: torch.device) -> tuple[Tensor, ...]:
    """Return x, dt, A, B, C, D of a small scan: 150 tokens, 2 groups of 2 heads, weak to strong decays.

    Heads and states are as wide as usual, and the tensors of products bf16.
    """
    return narrowed(ssd_single_problem(device), torch.bfloat16)


def ssd_single_problem(device: torch.device) -> tuple[Tensor, ...]:
    """Return the same in float32."""
    return _ssd_tensors((2, 150, 4), 2, device)


def ssd_batch(device: torch.device) -> tuple[Tensor, ...]:
    """Return x, dt, A, B, C, D of a layer in training, in float32: 64 images of 256 tokens, 12 heads."""
    return _ssd_tensors((64, 256, 12), 1, device)


def narrowed(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return x, dt, A, B, C, D with those of products, x, B and C, in this dtype."""
    return tuple(t.to(dtype) if t.dim() == 4 else t for t in tensors)


def _ssd_tensors(shape: tuple[int, int, int], groups: int, device: torch.device) -> tuple[Tensor, ...]:
    """Return x, dt, A, B, C, D of this many images, tokens and heads, with heads and states of width 64."""
    images, tokens, heads = shape
    x = waves((*shape, 64), 1.3, device)
    dt = (3 * waves(shape, 0.7, device) - 2).exp()
    A = -(2 * waves((heads,), 1.7, device)).exp()
    write, read = (waves((images, tokens, groups, 64), frequency, device) for frequency in (2.1, 0.3))
    return x, dt, A, write, read, waves((heads,), 0.9, device)
