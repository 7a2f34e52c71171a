"""How far apart generated images lie: a generator that repeats itself brings them together.

Letters: N images, P pairs in which each is the first, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.metrics.features import UNLABELLED, FeatureSet
from triptych.metrics.metric import Metric, Value, Width, by_class, with_spread
from triptych.random import Stream, integers

CHUNK_VALUES = 2**21
"""Most features of pairs that are compared at a time: bounds memory, however many and long the rows."""


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


def squared_distances(rows: Tensor, pairs: Pairs) -> Tensor:
    """Return the squared Euclidean distance of each pair of rows, float64.

    Rows are fetched and widened a few pairs at a time: those of a set that is larger than the memory may be a
    map of a file.

    Args:
        rows: float32 [N, D].
        pairs: positions in `rows`.
    """
    distances = torch.empty(len(pairs.first), dtype=torch.float64)
    for chunk in torch.arange(len(distances)).split(max(1, CHUNK_VALUES // rows.shape[1])):
        first, second = rows[pairs.first[chunk]].double(), rows[pairs.second[chunk]].double()  # [chunk, D]
        distances[chunk] = (first - second).square().sum(dim=1)
    return distances


@dataclass(frozen=True)
class PairDiversity(Metric):
    """Mean distance between the features of two generated images of one class.

    Neither high nor low is good in itself: read it beside the value of equally many real images. Images
    without labels are paired regardless of class, and their figure is another one under the same name: where
    models with and without classes stand side by side, take `ClassDiversity` and `OverallDiversity`.
    """

    better = "real"
    compares = False
    squared: bool = False
    """Whether the distance is the square of the Euclidean one, as LPIPS is, or that itself."""
    pairs_per_image: int = 8
    seed: int = 0

    def least(self, width: Width, classes: int = 0) -> int:
        """One image more than there are classes in turn: the fewest of which two are of one class."""
        return max(classes, 1) + 1

    def value(self, generated: FeatureSet, reference: FeatureSet) -> Value:
        """Return the mean distance, its jackknife spread, and the mean within each class.

        Raises:
            UserError: no class has two images.
        """
        labels = generated.labels
        distance, pairs = self._distances(generated, labels)
        classes = by_class(
            generated, reference, 2, lambda label: float(distance[labels[pairs.first] == label].mean())
        )
        left_out = self._left_out(generated, distance, pairs)
        return with_spread(float(distance.mean()), left_out, len(generated), classes)

    def _distances(self, images: FeatureSet, labels: Tensor) -> tuple[Tensor, Pairs]:
        """Return the distance of each pair of images of one label, and the pairs."""
        pairs = pairs_within_class(images.index, labels, self.pairs_per_image, self.seed)
        if not len(pairs.first):
            raise UserError(
                f"{self.name} of {len(images)} images",
                "no two of them are of one class",
                "generate at least two images of each class",
            )
        squares = squared_distances(images.rows(self.feature), pairs)
        return squares if self.squared else squares.sqrt(), pairs

    @staticmethod
    def _left_out(images: FeatureSet, distance: Tensor, pairs: Pairs) -> list[float]:
        """Return the mean distance without the images of each group; none if that leaves no pair."""
        group = images.group
        first, second = group[pairs.first], group[pairs.second]
        means = [float(distance[(first != g) & (second != g)].mean()) for g in images.groups]
        return [] if any(mean != mean for mean in means) else means


@dataclass(frozen=True)
class ClassDiversity(PairDiversity):
    """Mean distance between two images that were asked to show the same class.

    For images without labels there is none: any two of them lie further apart than two of a class.
    """

    labelled = True


@dataclass(frozen=True)
class OverallDiversity(PairDiversity):
    """Mean distance between any two images, whatever their classes.

    It means the same for models with and without classes, so that it is what compares them.
    """

    def least(self, width: Width, classes: int = 0) -> int:
        """Two images make a pair."""
        return 2

    def value(self, generated: FeatureSet, reference: FeatureSet) -> Value:
        """Return the mean distance and its jackknife spread; there is none of a single class."""
        distance, pairs = self._distances(generated, torch.full_like(generated.labels, UNLABELLED))
        left_out = self._left_out(generated, distance, pairs)
        return with_spread(float(distance.mean()), left_out, len(generated), None)
