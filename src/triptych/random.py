"""Randomness as a function: one counter-based generator behind every draw the program makes.

A draw is keyed by (seed, stream, step, index) and by nothing else: not by the order of calls, the
batch it is part of, or the rank that makes it. Resuming is therefore arithmetic, an image's noise
depends on that image alone, and the number of processes changes no draw. The generator is
Philox4x32-10 (`triptych.philox`), whose integers are the same on every device.

Letters: B indices (images), W 32-bit words per index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

from triptych.philox.fused import drawn_by
from triptych.philox.reference import MASK32


class Stream(IntEnum):
    """What a draw is for. Draws of different streams are independent."""

    ORDER = 1
    FLIP = 2
    LEVEL = 3
    NOISE = 4
    LABEL_DROP = 5
    DROPOUT = 6
    INITIAL_NOISE = 7
    SAMPLER_NOISE = 8
    HELD_OUT = 9
    PAIRS = 10
    WEIGHTS = 11


def stream_key(stream: Stream, part: int = 0, salt: int = 0) -> int:
    """Return the 32-bit key word of a stream: 8 bits of purpose, 12 of `part`, 12 of `salt`.

    `part` tells apart draws of one purpose (the layers that drop out); `salt` counts rollbacks, so
    that a stretch of training that is repeated after a fault does not meet the same draws again.
    """
    if not (0 <= part < 4096 and 0 <= salt < 4096):
        raise ValueError(f"part {part} and salt {salt} must lie in 0..4095")
    return int(stream) | part << 8 | salt << 20


def words(seed: int, stream: int, step: int, index: Tensor, count: int) -> Tensor:
    """Return `count` 32-bit words for every index: int64 [B, count] on the device of `index`.

    Args:
        seed: 0 <= seed < 2^32.
        stream: a key word from `stream_key`, or a bare `Stream`.
        step: 0 <= step < 2^32.
        index: int64 [B], nonnegative.
        count: words per index.
    """
    _check(seed, stream, step)
    return drawn_by(index.device).words(seed, stream, step, index, count)


def integers(seed: int, stream: int, step: int, index: Tensor, shape: Sequence[int] = ()) -> Tensor:
    """Return uniform integers in [0, 2^32): int64 [B, *shape]."""
    return words(seed, stream, step, index, math.prod(shape)).reshape(len(index), *shape)


def uniform(seed: int, stream: int, step: int, index: Tensor, shape: Sequence[int] = ()) -> Tensor:
    """Return uniform numbers in [0, 1), multiples of 2^-24: float32 [B, *shape]."""
    return (integers(seed, stream, step, index, shape) >> 8).to(torch.float32) * 2.0**-24


def normal(seed: int, stream: int, step: int, index: Tensor, shape: Sequence[int]) -> Tensor:
    """Return standard normal numbers: float32 [B, *shape], by Box and Muller's transform (1958).

    Bitwise the same on one device whatever the batch; between devices equal to about 1e-6, because
    their logarithms and cosines differ in the last place.
    """
    size = math.prod(shape)
    w = words(seed, stream, step, index, size + size % 2).unflatten(1, (-1, 2)) >> 8
    radius = (-2.0 * ((w[..., 0] + 1).to(torch.float32) * 2.0**-24).log()).sqrt()
    angle = w[..., 1].to(torch.float32) * (2.0**-24 * 2.0 * math.pi)
    pairs = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1)
    return pairs.flatten(1)[:, :size].reshape(len(index), *shape)


def bernoulli(
    probability: float, seed: int, stream: int, step: int, index: Tensor, shape: Sequence[int] = ()
) -> Tensor:
    """Return True with `probability`, in steps of 2^-16: bool [B, *shape].

    Two draws are made from each word, because masks as large as activations are drawn with it.
    """
    _check(seed, stream, step)
    threshold = round(probability * 65536)
    drawn = drawn_by(index.device).below(threshold, seed, stream, step, index, math.prod(shape))
    return drawn.reshape(len(index), *shape)


def permutation(seed: int, stream: int, step: int, size: int) -> Tensor:
    """Return a uniformly random order of 0..size-1: int64 [size], on the CPU.

    Sorts 62-bit random keys; a tie, of chance size^2 / 2^63, would keep its two entries in order.
    """
    w = words(seed, stream, step, torch.arange(size), 2)
    return (w[:, 0] << 30 | w[:, 1] >> 2).argsort(stable=True)


def _check(seed: int, stream: int, step: int) -> None:
    if not (0 <= seed <= MASK32 and 0 <= stream <= MASK32 and 0 <= step <= MASK32):
        raise ValueError(f"seed {seed}, stream {stream} and step {step} must lie in 0..2^32-1")
