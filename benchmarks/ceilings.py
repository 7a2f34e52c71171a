"""What the machine does at most: products of matrices, convolutions, and bytes through its memory.

A network is no faster than its products and convolutions would be at these rates. They are measured in the
same rounds as what is held against them, since a machine's speed drifts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.comparison import (
    CONVOLUTION,
    COPY,
    CPU,
    PRODUCT,
    TRAINED_CONVOLUTION,
    WARM_UP,
    Call,
    Operations,
)
from benchmarks.pairs import Spread, interleaved, spread
from triptych.devices import synchronize
from triptych.precision import DTYPES, best_precision

SIDE, GPU_SIDE, QUICK_SIDE = 2048, 8192, 64
"""Of the matrices: a GPU is full only with larger ones."""
REPEATS = 3
"""Calls of an operation in one measurement, which takes about as long as a layer or two of a network."""
NUMBERS, QUICK_NUMBERS = 2**26, 2**10
"""That are copied: beyond any cache."""
PASSES = 3
"""Of a product or convolution that is learned from: two more of its size, for its inputs and its weights."""


class Shape(NamedTuple):
    """Of the convolution: 3x3, as many channels out as in."""

    batch: int
    channels: int
    pixels: int

    def operations(self) -> int:
        """Return the operations of its forward pass."""
        return 2 * 9 * self.channels**2 * self.batch * self.pixels**2


SHAPE, QUICK_SHAPE = Shape(16, 128, 32), Shape(2, 8, 8)


class Ceiling(NamedTuple):
    """One kind of work, as large and regular as the machine likes it best."""

    what: str
    make: Callable[[], Call]
    amount: int
    """Operations of a call, or bytes."""
    unit: str = "GFLOP/s"


def ceilings(quick: bool, device: torch.device = CPU) -> dict[str, Ceiling]:
    """Return every ceiling of a device by the kind of work that it bounds.

    Of a GPU there is one: products of matrices in the precision that networks have on it, at which its
    convolutions are counted too.
    """
    if device.type != "cpu":
        side, precision = QUICK_SIDE if quick else GPU_SIDE, best_precision(device)
        what = f"{side} x {side} matrices in {precision}"
        return {
            PRODUCT: Ceiling(what, lambda: product(side, device, DTYPES[precision]), REPEATS * 2 * side**3)
        }
    side, numbers, shape = (QUICK_SIDE, QUICK_NUMBERS, QUICK_SHAPE) if quick else (SIDE, NUMBERS, SHAPE)
    sizes = f"3x3, {shape.channels} channels, {shape.pixels}x{shape.pixels} pixels, batch {shape.batch}"
    return {
        PRODUCT: Ceiling(f"{side} x {side} matrices", lambda: product(side), REPEATS * 2 * side**3),
        CONVOLUTION: Ceiling(sizes, lambda: convolution(shape), REPEATS * shape.operations()),
        TRAINED_CONVOLUTION: Ceiling(
            f"{sizes}, forward and backward", lambda: trained(shape), REPEATS * PASSES * shape.operations()
        ),
        # Read once and written once.
        COPY: Ceiling(f"{4 * numbers / 2**20:,.0f} MiB", lambda: copy(numbers), 8 * numbers, "GB/s"),
    }


def measured_ceilings(
    rounds: int, quick: bool, device: torch.device = CPU
) -> dict[str, tuple[Ceiling, Spread]]:
    """Return every ceiling of a device with its rate, in its unit."""
    found = ceilings(quick, device)
    calls = {kind: ceiling.make() for kind, ceiling in found.items()}
    seconds = interleaved(calls, rounds, WARM_UP, wait=lambda: synchronize(device))
    return {
        kind: (ceiling, spread([ceiling.amount / one / 1e9 for one in seconds[kind]]))
        for kind, ceiling in found.items()
    }


def product(side: int, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> Call:
    """Return products of square matrices."""
    a, b = torch.randn(2, side, side, device=device).to(dtype).unbind()
    out = torch.empty_like(a)
    return repeated(lambda: torch.mm(a, b, out=out))


def convolution(shape: Shape) -> Call:
    """Return convolutions that nothing is learned from."""
    x, weight = operands(shape)
    return repeated(lambda: F.conv2d(x, weight, padding=1))


def trained(shape: Shape) -> Call:
    """Return convolutions with their backward passes."""
    x, weight = (one.requires_grad_() for one in operands(shape))
    dy = torch.randn(shape.batch, shape.channels, shape.pixels, shape.pixels)
    return repeated(lambda: torch.autograd.grad(F.conv2d(x, weight, padding=1), (x, weight), dy))


def operands(shape: Shape) -> tuple[Tensor, Tensor]:
    """Return images [B, C, H, W] and a kernel [C, C, 3, 3]."""
    batch, channels, pixels = shape
    return torch.randn(batch, channels, pixels, pixels), torch.randn(channels, channels, 3, 3)


def copy(numbers: int) -> Call:
    """Return a copy from one part of the memory to another."""
    source = torch.randn(numbers)
    target = torch.empty_like(source)

    def call() -> Sequence[Tensor]:
        target.copy_(source)
        return ()

    return call


def repeated(operation: Callable[[], object]) -> Call:
    """Return several calls of an operation as one."""

    def call() -> Sequence[Tensor]:
        for _ in range(REPEATS):
            operation()
        return ()

    return call


def operations_of(network: nn.Module, inputs: Sequence[Tensor], batch: int, *, training: bool) -> Operations:
    """Return what a network's products and convolutions come to, by the ceiling that bounds each.

    Args:
        network: run once, in evaluation mode.
        inputs: of one image.
        batch: images of the work that is measured.
        training: whether that has a backward pass.
    """
    counter, before = FlopCounterMode(display=False), network.training
    # Fused attention is one operation that is counted on some devices only; taken apart, it is two products.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network.eval()(*inputs)
    network.train(before)
    counts: Mapping = counter.get_flop_counts()["Global"]
    convolved = sum(count for operation, count in counts.items() if "convolution" in str(operation))
    multiplied = sum(counts.values()) - convolved
    passes = PASSES * batch if training else batch
    kind = TRAINED_CONVOLUTION if training else CONVOLUTION
    return {name: passes * count for name, count in {PRODUCT: multiplied, kind: convolved}.items() if count}
