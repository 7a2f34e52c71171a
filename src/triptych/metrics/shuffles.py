"""Seeded orders of a set's images: splits, subsets and parts that neither batches nor processes change."""

from __future__ import annotations

from enum import IntEnum

from torch import Tensor

from triptych.random import Stream, permutation, stream_key


class Shuffle(IntEnum):
    """What an order is for. Orders for different purposes are independent."""

    SPLITS = 1
    SUBSETS = 2
    REFERENCE_SUBSETS = 3
    PARTS = 4
    GROUPS = 5


def shuffled(purpose: Shuffle, seed: int, size: int, number: int = 0) -> Tensor:
    """Return a random order of 0..size-1, int64 [size]: positions in a feature set's own order.

    Args:
        purpose: what it is for.
        seed: of the metric.
        size: number of images.
        number: which of several orders for the purpose.
    """
    return permutation(seed, stream_key(Stream.PAIRS, purpose), number, size)
