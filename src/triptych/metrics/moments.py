"""First and second moments of features, summed in float64 in separately kept parts.

Letters: B images, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Sample mean and covariance of `count` images."""

    count: int
    mean: Tensor
    """float64 [D]."""
    covariance: Tensor
    """float64 [D, D], divided by count - 1 (by 1 for a single image, where it is zero)."""


@dataclass(frozen=True)
class Sums:
    """Number of images, sum of f and sum of f f^T: what adds up over batches, groups and ranks."""

    count: int
    first: Tensor
    second: Tensor

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.count + other.count, self.first + other.first, self.second + other.second)

    def moments(self) -> Moments:
        """Return mean and covariance; at least one image must have been counted."""
        mean = self.first / self.count
        scatter = self.second - self.count * mean.outer(mean)
        return Moments(self.count, mean, (scatter + scatter.mT) / (2 * max(self.count - 1, 1)))


class PartialSums:
    """Sums of features, one `Sums` per part (a jackknife group, a class) of the images.

    Sums of the same images in another order or batching agree to about 1e-12 relative.
    """

    def __init__(self) -> None:
        self._parts: dict[int, Sums] = {}

    def add(self, part: Tensor, features: Tensor) -> None:
        """Count features, float [B, D], each image in the part that `part`, int64 [B], names."""
        wide = features.to(_float64_device(features.device), torch.float64)
        part = part.to(wide.device)
        for key in part.unique().tolist():
            f = wide[part == key]
            self._accumulate(key, Sums(len(f), f.sum(0), f.mT @ f))

    def merge(self, other: PartialSums) -> None:
        """Count all that `other` has counted, part by part."""
        for key, sums in other._parts.items():
            self._accumulate(key, sums)

    def keys(self) -> list[int]:
        """Return the parts that hold at least one image, in ascending order."""
        return sorted(self._parts)

    def of(self, key: int) -> Moments:
        """Return the moments of one part."""
        return self._parts[key].moments()

    def total(self, without: int | None = None) -> Moments:
        """Return the moments of all parts together, but for the part `without`."""
        parts = [self._parts[key] for key in self.keys() if key != without]
        total = parts[0]
        for sums in parts[1:]:
            total = total + sums
        return total.moments()

    def _accumulate(self, key: int, sums: Sums) -> None:
        self._parts[key] = self._parts[key] + sums if key in self._parts else sums


def _float64_device(device: torch.device) -> torch.device:
    """Return `device`, or the CPU where the device has no float64 (Apple's MPS)."""
    return torch.device("cpu") if device.type == "mps" else device
