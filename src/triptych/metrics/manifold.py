"""Where generated and real images lie among each other: precision and recall, density and coverage.

A set is taken for the union of balls around its images, each reaching to the image's K-th nearest neighbour
in the set. What the four figures need is found in one pass over all distances, and kept while the sets live.

Letters: N generated and M reference images, B and C of a block, D features, K neighbours, G jackknife groups.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from triptych.metrics.distances import blocks, middle, neighbour_distances, points, squared_distances
from triptych.metrics.features import GROUPS, FeatureSet
from triptych.metrics.metric import Metric, Value, Width, with_spread

NONE = -1
"""In place of a jackknife group that is left out: none is."""
CUSTOMARY = (3, 5)
"""Neighbours of precision and recall, and of density and coverage: found together."""


class Overlap(NamedTuple):
    """What the figures are counted from. Row 0 is with all generated images, row 1 + g without group g."""

    balls: Tensor
    """In how many balls of reference images each generated image lies: int64 [N]."""
    reached: Tensor
    """Whether the ball of each reference image holds a generated image of each group: bool [M, G]."""
    recalled: Tensor
    """Whether each reference image lies in the ball of a generated one, by row: bool [M, 1 + G]."""


def overlaps(
    rows: Tensor, group: Tensor, reference_rows: Tensor, nearest: Tensor, counts: tuple[int, ...]
) -> dict[int, Overlap]:
    """Return how generated images lie among reference images, by the number of neighbours.

    (2 N M + N^2) D operations; memory for two blocks and the result, whatever the number of images.

    Args:
        rows: features of generated images, float32 [N, D].
        group: int64 [N], their jackknife groups, 0..G-1.
        reference_rows: float32 [M, D].
        nearest: squared distances of each of these to its nearest others, ascending, float32 [M, >= K].
        counts: each K.
    """
    origin = middle(reference_rows)
    among = neighbour_distances(rows, group, max(counts), origin)  # [N, G, K]
    reach = {k: _kth(nearest, k) for k in counts}  # [M] each
    own = {k: radii(among, group, k) for k in counts}  # [1 + G, N] each
    widest, own_widest = reach[max(counts)], own[max(counts)].amax(0)
    found = {
        k: Overlap(
            torch.zeros(len(rows), dtype=torch.int64),
            torch.zeros(len(reference_rows), GROUPS, dtype=torch.bool),
            torch.zeros(len(reference_rows), 1 + GROUPS, dtype=torch.bool),
        )
        for k in counts
    }
    for _, there in blocks(torch.zeros(len(reference_rows), dtype=torch.int64)):
        y = points(reference_rows[there], origin)
        for part, here in blocks(group):
            distance = squared_distances(y, points(rows[here], origin))  # [C, B]
            # Few pairs are near: what follows is done for these alone.
            real, mine, far = _pairs(distance, distance <= widest[there, None], there, here)
            for k, overlap in found.items():
                inside = far <= reach[k][real]
                overlap.balls.index_add_(0, mine[inside], torch.ones_like(mine[inside]))
                overlap.reached[real[inside], part] = True
            real, mine, far = _pairs(distance, distance <= own_widest[here], there, here)
            for k, overlap in found.items():
                for row, radius in enumerate(own[k]):
                    overlap.recalled[real[far <= radius[mine]], row] = True
    return found


def _pairs(distance: Tensor, near: Tensor, there: Tensor, here: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the positions of both images of each pair that is near, and their squared distance."""
    y, x = near.nonzero(as_tuple=True)
    return there[y], here[x], distance[y, x]


def radii(among: Tensor, group: Tensor, k: int) -> Tensor:
    """Return the squared distance of each image to its K-th nearest other: float32 [1 + G, N].

    The rows after the first are without one group each: a radius of -1, which holds nothing, tells that the
    image itself is left out.

    Args:
        among: squared distances to the nearest others in each group, float32 [N, G, >= K], ascending.
        group: int64 [N].
        k: K.
    """
    rows = [_kth(among, k)]
    for g in range(GROUPS):
        others = torch.arange(among.shape[1]) != g
        rows.append(_kth(among[:, others], k).masked_fill(group == g, -1))
    return torch.stack(rows)


def _kth(among: Tensor, k: int) -> Tensor:
    """Return the K-th smallest of each [N, ...], or the largest finite one where there are fewer; else 0."""
    flat = among.flatten(1)
    nearest = flat.topk(min(k, flat.shape[1]), largest=False).values
    return torch.where(nearest.isfinite(), nearest, 0).amax(1) if flat.shape[1] else torch.zeros(len(flat))


_NEAREST: WeakKeyDictionary[FeatureSet, dict[Hashable, Tensor]] = WeakKeyDictionary()
_OVERLAPS: WeakKeyDictionary[FeatureSet, dict[Hashable, dict[int, Overlap]]] = WeakKeyDictionary()


def overlap_of(generated: FeatureSet, reference: FeatureSet, feature: str, k: int) -> Overlap:
    """Return the overlap of two sets, which is found once as long as they live and are not added to."""
    counts = CUSTOMARY if k in CUSTOMARY else (k,)
    kept = _OVERLAPS.setdefault(generated, {})
    key = (ref(reference), len(reference), len(generated), feature, counts)
    if key not in kept:
        others = reference.rows(feature)
        kept[key] = overlaps(
            generated.rows(feature),
            generated.group,
            others,
            _nearest_of(reference, feature, max(counts)),
            counts,
        )
    return kept[key][k]


def _nearest_of(reference: FeatureSet, feature: str, count: int) -> Tensor:
    """Return the squared distances of each image of a set to its nearest others, float32 [M, K]."""
    kept = _NEAREST.setdefault(reference, {})
    key = (len(reference), feature, count)
    if key not in kept:
        rows = reference.rows(feature)
        one_part = torch.zeros(len(rows), dtype=torch.int64)
        kept[key] = neighbour_distances(rows, one_part, count, middle(rows))[:, 0]
    return kept[key]


@dataclass(frozen=True)
class ManifoldMetric(Metric):
    """A figure of how two sets lie among each other.

    Its spread is by jackknife over generated images: distances are kept by group, so that to leave one out
    takes no further distances. The first such figure of a reference takes M^2 D operations, which the others
    and other generated sets then share; each generated set takes (2 N M + N^2) D more.
    """

    neighbours: int = 3

    def least(self, width: Width, classes: int = 0) -> int:
        """As many in each jackknife group as decide upon one ball."""
        return GROUPS * (self.neighbours + 1)

    def value(self, generated: FeatureSet, reference: FeatureSet) -> Value:
        """Return the figure and its jackknife spread."""
        overlap = overlap_of(generated, reference, self.feature, self.neighbours)
        group, groups = generated.group, generated.groups
        left_out = [self.count(overlap, group, g) for g in groups] if len(groups) > 1 else []
        return with_spread(self.count(overlap, group, NONE), left_out, len(generated), None)

    @abstractmethod
    def count(self, overlap: Overlap, group: Tensor, without: int) -> float:
        """Return the figure of all generated images but those of one group.

        Args:
            overlap: of the two sets.
            group: int64 [N], that of each generated image.
            without: the group that is left out; NONE.
        """


def _share(true: Tensor) -> float:
    return float(true.double().mean())


@dataclass(frozen=True)
class Precision(ManifoldMetric):
    """Share of generated images that lie in the ball of a reference image, 0..1: are they like real ones?

    Kynkäänniemi et al. 2019 (arXiv 1904.06991), equations 1 and 2. High for one good image repeated: read it
    with recall.
    """

    better = "higher"

    def count(self, overlap: Overlap, group: Tensor, without: int) -> float:
        """Return the share."""
        return _share(overlap.balls[group != without] > 0)


@dataclass(frozen=True)
class Recall(ManifoldMetric):
    """Share of reference images that lie in the ball of a generated image, 0..1: do all kinds occur?

    Kynkäänniemi et al. 2019 (arXiv 1904.06991), equations 1 and 2. A few generated images far from all
    others have balls that hold everything: density and coverage, whose balls are of real images, do not
    suffer from it.
    """

    better = "higher"

    def count(self, overlap: Overlap, group: Tensor, without: int) -> float:
        """Return the share."""
        return _share(overlap.recalled[:, 1 + without])


@dataclass(frozen=True)
class Density(ManifoldMetric):
    """Number of balls of reference images that a generated image lies in, over K: 1 on average for real ones.

    Naeem et al. 2020 (arXiv 2002.09797), section 3. Above 1 for images in the midst of all, which in many
    dimensions are near to everything: the better figure is the nearer to that of real images.
    """

    better = "real"
    neighbours: int = 5

    def count(self, overlap: Overlap, group: Tensor, without: int) -> float:
        """Return the mean number over K."""
        kept = overlap.balls[group != without]
        return float(kept.double().mean()) / self.neighbours


@dataclass(frozen=True)
class Coverage(ManifoldMetric):
    """Share of reference images whose ball holds a generated image, 0..1: do all kinds occur?

    Naeem et al. 2020 (arXiv 2002.09797), section 3. For N images drawn like the M of the reference it is
    about 1 - (M / (M + N))^K: it depends on both numbers, so compare equal numbers only.
    """

    better = "higher"
    neighbours: int = 5

    def count(self, overlap: Overlap, group: Tensor, without: int) -> float:
        """Return the share."""
        return _share(overlap.reached[:, torch.arange(GROUPS) != without].any(1))
