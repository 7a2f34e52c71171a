"""Inception Score: whether a classifier is sure of each image, and finds all kinds of images in a set.

Letters: N images, K classes, S splits, G jackknife groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from triptych.jackknife import jackknife_spread
from triptych.metrics.features import GROUPS, FeatureSet
from triptych.metrics.metric import Metric, Value, Width
from triptych.metrics.shuffles import Shuffle, shuffled

CHUNK = 4096
"""Images whose probabilities are held in float64 at a time."""
ENOUGH = 100
"""Images of a split that will do, however many classes there are."""


@dataclass(frozen=True)
class InceptionScore(Metric):
    """exp(mean KL(p(y|x) || p(y))) in each of some random splits, and the mean over them: 1 to K.

    Salimans et al. 2016 (arXiv 1606.03498), section 4. It sees no reference, and knows nothing of images
    that repeat themselves within a class. A split of n images scores at most n, and about a share of
    (K - 1) / 2n too much, K being the classes that occur: compare equal numbers only.

    `split_std` is what published figures are followed by: the standard deviation over splits, divided by
    their number (ddof 0), as the first implementations and torch-fidelity have it; torchmetrics divides by
    one less. It is no error of the mean. The spread is: by jackknife, the splits staying as they are.
    """

    better = "higher"
    compares = False
    feature: str = "log_probs"
    splits: int = 10
    seed: int = 0

    def least(self, width: Width, classes: int = 0) -> int:
        """An image of each class in every split; with many classes, a hundred images in every split."""
        return self.splits * min(width(self.feature), ENOUGH)

    def value(self, generated: FeatureSet, reference: FeatureSet) -> Value:
        """Return the mean over splits, its jackknife spread, and the deviation of the splits."""
        group = generated.group
        splits = min(self.splits, len(group))
        # Split s holds the places from s N / S to (s + 1) N / S of the shuffled order.
        place = shuffled(Shuffle.SPLITS, self.seed, len(group)).argsort()
        split = ((place + 1) * splits - 1) // len(group)
        sums = Sums.of(generated.rows(self.feature), split * GROUPS + group, splits)
        scores = sums.scores(torch.ones(GROUPS, dtype=torch.bool))
        groups = generated.groups
        left_out = [float(sums.scores(torch.arange(GROUPS) != g).mean()) for g in groups]
        left_out = left_out if len(groups) > 1 else []
        return Value(
            float(scores.mean()),
            jackknife_spread(left_out),
            float(scores.std(correction=0)),
            len(group),
            tuple(left_out),
        )


@dataclass(frozen=True)
class Sums:
    """What the scores of splits are made of, by split and group: to leave a group out costs nothing."""

    count: Tensor
    """Images, float64 [S, G]."""
    probabilities: Tensor
    """Sum of p(y|x), float64 [S, G, K]."""
    entropy: Tensor
    """Sum of the entropy of p(y|x) in nats, float64 [S, G]."""

    @classmethod
    def of(cls, log_probs: Tensor, cell: Tensor, splits: int) -> Sums:
        """Return the sums of the rows of float [N, K].

        Each is counted in the cell, split * GROUPS + group, that int64 [N] names.
        """
        count = torch.zeros(splits * GROUPS, dtype=torch.float64)
        probabilities = torch.zeros(splits * GROUPS, log_probs.shape[1], dtype=torch.float64)
        entropy = torch.zeros_like(count)
        for rows, at in zip(log_probs.split(CHUNK), cell.split(CHUNK), strict=True):
            p = rows.double().exp()
            probabilities.index_add_(0, at, p)
            entropy.index_add_(0, at, torch.special.entr(p).sum(1))
            count.index_add_(0, at, torch.ones(len(p), dtype=torch.float64))
        shape = (splits, GROUPS)
        return cls(count.view(shape), probabilities.view(*shape, -1), entropy.view(shape))

    def scores(self, kept: Tensor) -> Tensor:
        """Return the score of each split, float64 [S], of the groups where bool [G] is true.

        The mean divergence is the entropy of the mean less the mean entropy. Splits without images are
        left out.
        """
        count = self.count[:, kept].sum(1)  # [S]
        some = count > 0
        count = count[some]
        marginal = self.probabilities[some][:, kept].sum(1) / count[:, None]  # [S, K]
        entropy = self.entropy[some][:, kept].sum(1) / count
        return (torch.special.entr(marginal).sum(1) - entropy).exp()
