"""The nearest training images of each generated one: does a model repeat what it was shown?

Letters: N generated and M reference images, B and C of a block, D features, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from triptych.metrics.distances import BLOCK, middle, points, squared_distances
from triptych.metrics.features import FeatureSet
from triptych.metrics.metric import Metric, Value, by_class, with_spread

SPARE = 4
"""Candidates over K, for neighbours whose order rounding may have changed."""
EXACT = 128
"""Images whose differences from their candidates are there at a time."""


class Neighbours(NamedTuple):
    """Nearest images, nearest first."""

    distance: Tensor
    """float32 [N, K], in units of the features."""
    index: Tensor
    """int64 [N, K]: rows of the reference."""


def nearest(rows: Tensor, reference_rows: Tensor, k: int = 1) -> Neighbours:
    """Return the K nearest reference images of each image.

    Candidates are found by products of matrices in float32, and their distances then computed from
    differences in float64, so that a copy is at distance 0. 2 N M D operations; memory for one block.

    Args:
        rows: features, float32 [N, D].
        reference_rows: features, float32 [M, D], M >= K; may be a map of a file.
        k: K.
    """
    if not 1 <= k <= len(reference_rows):
        raise ValueError(f"{k} neighbours among {len(reference_rows)} images")
    origin = middle(reference_rows)
    count = min(k + SPARE, len(reference_rows))
    found = [_of_block(mine, reference_rows, origin, count, k) for mine in rows.split(BLOCK)]
    return Neighbours(torch.cat([n.distance for n in found]), torch.cat([n.index for n in found]))


def _of_block(mine: Tensor, reference_rows: Tensor, origin: Tensor, count: int, k: int) -> Neighbours:
    x = points(mine, origin)
    best = torch.full((len(mine), count), torch.inf)  # [B, K + spare]
    index = torch.zeros_like(best, dtype=torch.int64)
    for start, theirs in enumerate(reference_rows.split(BLOCK)):
        distance = squared_distances(x, points(theirs, origin))  # [B, C]
        near = distance.topk(min(count, len(theirs)), largest=False)
        both = torch.cat([best, near.values], 1).topk(count, largest=False)
        best, index = both.values, torch.cat([index, near.indices + start * BLOCK], 1).gather(1, both.indices)
    exact = torch.cat(
        [
            (x[:, None].double() - reference_rows[at].double()).norm(dim=2)
            for x, at in zip(mine.split(EXACT), index.split(EXACT), strict=True)
        ]
    )
    order = exact.argsort(dim=1, stable=True)[:, :k]
    return Neighbours(exact.gather(1, order).float(), index.gather(1, order))


@dataclass(frozen=True)
class NearestReference(Metric):
    """Mean distance of a generated image from the nearest training image, in units of the features.

    Neither high nor low is good in itself: read it beside the value of equally many held-out images. Much
    below it, images have been memorised; much above, they look like none that there is. The mean and not
    the median, which would not notice that up to half of the images are copies.
    """

    better = "real"
    memorisation = True

    def value(self, generated: FeatureSet, reference: FeatureSet) -> Value:
        """Return the mean distance, its jackknife spread, and the mean within each class.

        The nearest image is looked for among those of all classes.
        """
        found = nearest(generated.rows(self.feature), reference.rows(self.feature))
        distance = found.distance[:, 0].double()
        group, labels, groups = generated.group, generated.labels, generated.groups
        left_out = [float(distance[group != g].mean()) for g in groups] if len(groups) > 1 else []
        classes = by_class(generated, reference, 1, lambda label: float(distance[labels == label].mean()))
        return with_spread(float(distance.mean()), left_out, len(distance), classes)
