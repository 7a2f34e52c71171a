"""The Fréchet distance that endless images would have: FID-infinity where the features are Inception's.

Letters: N images, D features, G groups left out in turn, R sizes of parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from triptych.metrics.features import FeatureSet
from triptych.metrics.frechet import factor, frechet_distance
from triptych.metrics.metric import Metric, Value, Width, with_spread
from triptych.metrics.moments import Moments, Sums
from triptych.metrics.shuffles import Shuffle, shuffled


def intercept(sizes: Tensor, figures: Tensor) -> Tensor:
    """Return the least-squares line of figures [R, ...] in 1 / size [R], continued to endless size."""
    x = 1 / sizes
    around = x - x.mean()
    slope = (around @ figures) / around.square().sum()
    return figures.mean(0) - slope * x.mean()


@dataclass(frozen=True)
class FrechetInfinity(Metric):
    """Fréchet distance of images of increasing number, continued to endless number along a line in 1 / N.

    Chong and Forsyth 2020 (arXiv 1911.07023): the distance of N images is too large by c / N,
    with a c of the model's own. They take 15 sizes, one random subset of each. Here the shuffled set is cut
    into equal parts, once for each number in `parts`, and the distances of the parts are averaged: every
    image counts alike at each size. Where 15 growing subsets scatter by 0.070 around the true distance,
    this does by 0.053 (tests/metrics/test_frechet_infinity.py), with 3 distances in place of 15; and more
    sizes do no better. Not cut off at zero, which would bias it.

    The spread is by jackknife: each part is measured without a group in turn. A regression's error would
    not do, as the sizes share their images.
    """

    better = "lower"
    parts: tuple[int, ...] = (1, 2)
    """Numbers of parts; at least two."""
    seed: int = 0

    def least(self, width: Width, classes: int = 0) -> int:
        """As many that the smallest part has twice as many images as features.

        With fewer the distance is no straight line in 1 / N yet. Where all features vary alike, which is the
        worst case, its end is too low by 0.7 of the spread here, and by 1.6 with half as many images
        (tests/metrics/test_frechet_infinity.py).
        """
        return 2 * max(self.parts) * (width(self.feature) + 1)

    def value(self, generated: FeatureSet, reference: FeatureSet) -> Value:
        """Return the distance continued to endless number, and its jackknife spread."""
        target = reference.moments(self.feature)
        target_factor = factor(target.covariance)
        groups = generated.groups if len(generated.groups) > 1 else []
        order = shuffled(Shuffle.PARTS, self.seed, len(generated))
        figures = []
        for parts in self.parts:
            cut = [at.sort().values for at in order.tensor_split(parts) if len(at)]
            of_parts = [self._distances(generated, at, groups, target, target_factor) for at in cut]
            figures.append(torch.stack(of_parts).mean(0))  # [1 + G]
        sizes = len(generated) / torch.tensor(self.parts, dtype=torch.float64)
        # To leave a tenth out makes all sizes smaller by one factor, and no difference to the line's end.
        estimate, *left_out = intercept(sizes, torch.stack(figures)).tolist()
        if any(value != value for value in left_out):  # a group without which a part has no image
            left_out = []
        return with_spread(estimate, left_out, len(generated), None)

    def _distances(
        self,
        generated: FeatureSet,
        at: Tensor,
        groups: Sequence[int],
        target: Moments,
        target_factor: Tensor,
    ) -> Tensor:
        """Return the distance of the images at some positions, and without each group: float64 [1 + G]."""
        rows, group = generated.rows(self.feature), generated.group[at]
        total = Sums.of(rows, at)

        def distance(sums: Sums) -> float:
            return frechet_distance(sums.moments(), target, target_factor) if sums.count else math.nan

        without = (total - Sums.of(rows, at[group == g]) for g in groups)
        return torch.tensor([distance(total), *map(distance, without)], dtype=torch.float64)
