"""Euclidean distances between the features of many images, a block at a time.

Letters: N images, B images of one block, C of another, D features, P parts of a set, K neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 2048
"""Images of a block: a block of distances takes 16 MiB."""
SAMPLE = 4096


class Block(NamedTuple):
    """Some images of one part of a set."""

    part: int
    at: Tensor
    """Their positions, int64 [B], ascending."""


def blocks(part: Tensor) -> list[Block]:
    """Return all images in blocks that do not cross parts; int64 [N] tells the part, 0..P-1, of each."""
    found = []
    for one in part.unique().tolist():
        found += [Block(one, at) for at in (part == one).nonzero().squeeze(1).split(BLOCK)]
    return found


def middle(rows: Tensor) -> Tensor:
    """Return about the mean of float32 [N, D], float32 [D], from evenly spaced rows."""
    return rows[:: max(1, len(rows) // SAMPLE)].mean(0)


class Points(NamedTuple):
    """Features of some images, relative to one origin."""

    at: Tensor
    """float32 [B, D]."""
    squares: Tensor
    """Their squared lengths, float32 [B]."""


def points(rows: Tensor, origin: Tensor) -> Points:
    """Return float32 [B, D] relative to `origin`, which had best lie among them: see `squared_distances`."""
    at = rows - origin
    return Points(at, at.square().sum(1))


def squared_distances(x: Points, y: Points) -> Tensor:
    """Return the squared distance of each x [B] from each y [C]: float32 [B, C], at least 0.

    |x|^2 + |y|^2 - 2 x.y, one product of matrices. Wrong by about 1e-6 of |x|^2 + |y|^2: true neighbours
    are found, while the distance of images that are all but equal is known from their difference only.
    """
    out = torch.addmm(y.squares, x.at, y.at.mT, alpha=-2)  # [B, C]
    return out.add_(x.squares[:, None]).clamp_(min=0)


def neighbour_distances(rows: Tensor, part: Tensor, count: int, origin: Tensor) -> Tensor:
    """Return the squared distances of every image of a set to its nearest others in each part of the set.

    Each pair of blocks is met once: N^2 D operations, and memory for two blocks and the result.

    Args:
        rows: float32 [N, D]; may be a map of a file.
        part: int64 [N], the part of each image, 0..P-1.
        count: K.
        origin: float32 [D].

    Returns:
        float32 [N, P, K], ascending, infinite where a part has fewer others.
    """
    best = torch.full((len(rows), int(part.max()) + 1, count), torch.inf)
    every = blocks(part)
    for i, (one, here) in enumerate(every):
        x = points(rows[here], origin)
        for j, (other, there) in enumerate(every[: i + 1]):
            distance = squared_distances(x, points(rows[there], origin))
            if i == j:
                distance.fill_diagonal_(torch.inf)  # an image is no neighbour of itself
            else:
                best[there, one] = _nearer(best[there, one], distance.mT)
            best[here, other] = _nearer(best[here, other], distance)
    return best


def _nearer(best: Tensor, distance: Tensor) -> Tensor:
    """Return the smallest K, ascending, of [B, K] and [B, C]."""
    count = best.shape[1]
    found = distance.topk(min(count, distance.shape[1]), largest=False).values
    return torch.cat([best, found], 1).topk(count, largest=False).values
