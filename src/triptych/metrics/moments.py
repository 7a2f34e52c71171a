"""First and second moments of features, summed in float64.

Letters: N images, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK_BYTES = 32 << 20
"""Most bytes of float64 features at a time: rows may be many, and lie on a disk."""


class Moments(NamedTuple):
    """Sample mean and covariance of `count` images."""

    count: int
    mean: Tensor
    """float64 [D]."""
    covariance: Tensor
    """float64 [D, D], divided by count - 1 (by 1 for a single image, where it is zero)."""


@dataclass(frozen=True)
class Sums:
    """Number of images, sum of f and sum of f f^T: what adds up over parts of a set."""

    count: int
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, rows: Tensor, at: Tensor | None = None) -> Sums:
        """Return the sums of features, a chunk at a time: no part of the set is copied as a whole.

        Args:
            rows: float [N, D].
            at: positions of the images that count, int64 [M]; None: all.
        """
        width = rows.shape[1]
        first = torch.zeros(width, dtype=torch.float64)
        second = torch.zeros(width, width, dtype=torch.float64)
        size = max(1, CHUNK_BYTES // (8 * width))
        for chunk in rows.split(size) if at is None else (rows[some] for some in at.split(size)):
            f = chunk.double()
            first += f.sum(0)
            second.addmm_(f.mT, f)
        return cls(len(rows) if at is None else len(at), first, second)

    def __sub__(self, part: Sums) -> Sums:
        """Return the sums without those of a part of the images."""
        return Sums(self.count - part.count, self.first - part.first, self.second - part.second)

    def moments(self) -> Moments:
        """Return mean and covariance; at least one image must have been counted."""
        mean = self.first / self.count
        scatter = self.second - self.count * mean.outer(mean)
        return Moments(self.count, mean, (scatter + scatter.mT) / (2 * max(self.count - 1, 1)))
