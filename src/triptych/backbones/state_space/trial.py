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

LEAST_GAIN = 0.1
"""Share of the time that the faster one saves at least: of two that are alike, now one would win, now the
other, and what computes a run should not hang on that."""


def difference(
    ours: Scan, theirs: Scan, inputs: Sequence[Tensor], directions: Sequence[object], tolerance: float
) -> str:
    """Return where an implementation is not what ours is in float64, in any direction; or nothing.

    Values, gradients, and values where no gradients are asked for, as in drawing: kernels may differ there.

    Args:
        ours: what is right.
        theirs: what is held to it.
        inputs: of both; the first one has the shape and the dtype of the result.
        directions: the values of `reverse` with which they are called.
        tolerance: largest difference at which they agree, relative to the largest entry of each tensor.
    """

    def gradient(y: Tensor) -> Tensor:
        return scattered(y.shape, 0.9, y.device).to(inputs[0].dtype).to(y.dtype)

    exact = [tensor.double() for tensor in inputs]
    names = ["the result", *(f"gradient {k} of {len(inputs)}" for k in range(1, len(inputs) + 1))]
    for reverse in directions:
        right = results(ours, exact, reverse, gradient)
        found = results(theirs, inputs, reverse, gradient)
        with torch.no_grad():
            drawn = theirs(*inputs, reverse=reverse)
        for name, one, expected in zip(
            [*names, "the result without gradients"], [*found, drawn], [*right, right[0]], strict=True
        ):
            if one.shape != expected.shape:
                return f"{name} has the shape {tuple(one.shape)}, not {tuple(expected.shape)}"
            apart = float((one - expected).abs().max() / expected.abs().max())
            if not apart <= tolerance:  # a NaN is no agreement
                return f"{name} differs by {apart:.1g} of its largest entry"
    return ""


def slowness(ours: Scan, theirs: Scan, inputs: Sequence[Tensor], reverse: object) -> str:
    """Return what both take, forward and backward, where `theirs` is not clearly faster; or nothing."""
    scans = (ours, theirs)
    for scan in scans:  # what is made ready once takes time of its own
        _seconds(scan, inputs, reverse)
    rounds = [[_seconds(scan, inputs, reverse) for scan in scans] for _ in range(ROUNDS)]
    mine, other = (1e3 * min(spent) for spent in zip(*rounds, strict=True))
    return "" if other < (1 - LEAST_GAIN) * mine else f"{other:.2f} ms for {mine:.2f}"


def _seconds(scan: Scan, inputs: Sequence[Tensor], reverse: object) -> float:
    """Return what a call takes, forward and backward, the host's part included."""
    device = inputs[0].device
    synchronize(device)
    begun = time.perf_counter()
    results(scan, inputs, reverse, lambda y: inputs[0])  # any gradient of this shape will do
    synchronize(device)
    return time.perf_counter() - begun


def results(
    scan: Scan, inputs: Sequence[Tensor], reverse: object, gradient: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """Return the scan of the inputs, and their gradients, given what makes that of the scan from it."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    y = scan(*leaves, reverse=reverse)
    return [y.detach(), *torch.autograd.grad(y, leaves, gradient(y))]


def scattered(shape: Sequence[int], seed: float, device: torch.device) -> Tensor:
    """Return numbers scattered evenly over [-1, 1) that are alike on every device and disturb no generator.

    Independent as these are, nothing cancels as it would in sums of anything regular, of which half precision
    leaves little that could be compared.
    """
    numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float64, device=device)
    return (2 * ((numbers + seed).sin() * 1e4).frac().abs() - 1).to(torch.float32).reshape(shape)


def selective_scan_problem(device: torch.device, dtype: torch.dtype, state: int) -> tuple[Tensor, ...]:
    """Return x, dt, A, B, C of a small selective scan: B 2, L 37, D 8; decays from weak to strong."""
    x = scattered((2, 37, 8), 1.3, device).to(dtype)
    dt = (3 * scattered((2, 37, 8), 0.7, device) - 2).exp()
    A = -(2 * scattered((8, state), 1.7, device)).exp()
    write, read = (scattered((2, 37, state), frequency, device).to(dtype) for frequency in (2.1, 0.3))
    return x, dt, A, write, read


def ssd_problem(device: torch.device, dtype: torch.dtype, width: int, state: int) -> tuple[Tensor, ...]:
    """Return x, dt, A, B, C, D of a small scan: 150 tokens, 2 groups of 2 heads, weak to strong decays."""
    return _ssd_tensors((2, 150, 4), 2, device, dtype, width, state)


def ssd_batch(
    device: torch.device, dtype: torch.dtype, width: int, state: int, images: int = 64
) -> tuple[Tensor, ...]:
    """Return x, dt, A, B, C, D of a layer in training: so many images of 256 tokens, 768 channels inside."""
    return _ssd_tensors((images, 256, max(1, 768 // width)), 1, device, dtype, width, state)


def _ssd_tensors(
    shape: tuple[int, int, int], groups: int, device: torch.device, dtype: torch.dtype, width: int, state: int
) -> tuple[Tensor, ...]:
    """Return x, dt, A, B, C, D of this many images, tokens and heads; those of products have the dtype."""
    images, tokens, heads = shape
    x = scattered((*shape, width), 1.3, device).to(dtype)
    dt = (3 * scattered(shape, 0.7, device) - 2).exp()
    A = -(2 * scattered((heads,), 1.7, device)).exp()
    own = (images, tokens, groups, state)
    write, read = (scattered(own, frequency, device).to(dtype) for frequency in (2.1, 0.3))
    return x, dt, A, write, read, scattered((heads,), 0.9, device)
