"""How far apart images of one class lie: a generator that repeats itself brings them together.

Letters: N images, P pairs in which each is the first, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.metrics.features import FeatureSet, Need, jackknife_group
from triptych.metrics.metric import Metric, Value, Width, by_class, with_spread
from triptych.random import Stream, integers


class Pairs(NamedTuple):
    """Pairs of images, as positions in a feature set's order: int64, both of one length."""

    first: Tensor
    second: Tensor


def pairs_within_class(index: Tensor, labels: Tensor, per_image: int, seed: int = 0) -> Pairs:
    """Pair every image with `per_image` others of its class, drawn at random and with replacement.

    The draw for an image depends on the seed, its index, and its classmates alone, so that two
    checkpoints that are sampled with the same seeds are measured on the same pairs. Images that are
    alone in their class have no pairs.

    Args:
        index: int64 [N], ascending.
        labels: int64 [N]; images without labels share one label and are all paired with one another.
        per_image: P, the number of partners of each image.
        seed: of the draw.
    """
    firsts, seconds = [], []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        if (size := len(members)) < 2:
            continue
        place = torch.arange(size)[:, None]
        draw = integers(seed, Stream.PAIRS, 0, index[members], (per_image,))
        partner = (place + 1 + draw % (size - 1)) % size  # [size, P], never the image itself
        firsts.append(members[place].expand_as(partner).flatten())
        seconds.append(members[partner].flatten())
    none = torch.zeros(0, dtype=torch.int64)
    return Pairs(torch.cat([none, *firsts]), torch.cat([none, *seconds]))


@dataclass(frozen=True)
class PairDiversity(Metric):
    """Mean distance between the features of two generated images of one class, in units of the features.

    Neither high nor low is good in itself: read it beside the value of equally many real images. Images
    without labels are paired regardless of class.
    """

    better = "real"
    feature: str = "features"
    pairs_per_image: int = 8
    seed: int = 0

    @property
    def needs(self) -> frozenset[Need]:
        """Features, image by image."""
        return frozenset({Need(self.feature, "rows")})

    def least(self, width: Width, classes: int = 0) -> int:
        """One image more than there are classes in turn: the fewest of which two are of one class."""
        return max(classes, 1) + 1

    def value(self, generated: FeatureSet, reference: FeatureSet) -> Value:
        """Return the mean distance, its jackknife spread, and the mean within each class.

        Raises:
            UserError: no class has two images.
        """
        index, labels = generated.index, generated.labels
        first, second = pairs_within_class(index, labels, self.pairs_per_image, self.seed)
        if not len(first):
            raise UserError(
                f"{self.name} of {len(index)} images",
                "no two of them are of one class",
                "generate at least two images of each class",
            )
        rows = generated.rows(self.feature).double()
        distance = (rows[first] - rows[second]).norm(dim=1)
        group = jackknife_group(index)

        def without(g: int) -> float:
            return float(distance[(group[first] != g) & (group[second] != g)].mean())

        left_out = [without(g) for g in generated.groups]
        if any(value != value for value in left_out):  # a group without which no pair is left
            left_out = []
        classes = by_class(
            generated, reference, 2, lambda label: float(distance[labels[first] == label].mean())
        )
        return with_spread(float(distance.mean()), left_out, len(index), classes)
