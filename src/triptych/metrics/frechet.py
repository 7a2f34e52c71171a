"""Fréchet distance between two Gaussians fitted to features: FID where the features are Inception's.

Letters: N images, D features, R rank of a covariance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from triptych.metrics.features import FeatureSet
from triptych.metrics.metric import Metric, Value, Width, by_class, with_spread
from triptych.metrics.moments import Moments

EPS = torch.finfo(torch.float64).eps

COLUMNS = 256
"""Of a product at a time: with fewer, less is computed in vain, and each product is less efficient."""


def factor(covariance: Tensor) -> Tensor:
    """Return F, float64 [D, R], with F F^T = covariance: Cholesky's, or `half` where it is singular.

    Any such F serves, and Cholesky's takes a hundredth of the time of an eigendecomposition.
    """
    lower = cholesky(covariance)
    return half(covariance) if lower is None else lower


def cholesky(covariance: Tensor) -> Tensor | None:
    """Return L, float64 [D, D], lower triangular with L L^T = covariance; None where that is singular."""
    lower, failed = torch.linalg.cholesky_ex(covariance)
    pivots = lower.diagonal().square()
    whole = not int(failed) and bool(pivots.min() > len(pivots) * EPS * pivots.max())
    return lower if whole else None


def half(covariance: Tensor) -> Tensor:
    """Return H, float64 [D, R], with H H^T = covariance: its square root without the null directions.

    From the symmetric eigendecomposition, so that a singular covariance (fewer images than features,
    features that are always zero) is no special case.
    """
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    kept = eigenvalues > len(eigenvalues) * EPS * eigenvalues.norm()
    return vectors[:, kept] * eigenvalues[kept].sqrt()


def trace_of_root(reference_factor: Tensor, covariance: Tensor) -> Tensor:
    """Return tr((S1 S2)^(1/2)), given F with F F^T = S1, float64 [D, R], and S2, float64 [D, D].

    S1 S2 has the nonzero eigenvalues of F^T S2 F, which is symmetric, so that the fast and stable
    symmetric solver applies; S1 S2 itself is not symmetric, and handing it to that solver is wrong.
    """
    whole = reference_factor.shape[1] == len(covariance) and cholesky(covariance) is not None
    return sum_of_roots(lower_triangle(reference_factor, covariance), whole)


def lower_triangle(reference_factor: Tensor, covariance: Tensor) -> Tensor:
    """Return the lower triangle of F^T S F, float64 [R, R], which is all that eigenvalues are taken from.

    Columns come a few at a time, from their diagonal downwards; what stands above it means nothing. Zeros of
    a triangular F are not multiplied either, so that a third of the multiplications is left.
    """
    rank = reference_factor.shape[1]
    triangular = not bool(reference_factor.triu(1).any())
    product = torch.zeros(rank, rank, dtype=reference_factor.dtype)
    for start in range(0, rank, COLUMNS):
        columns = slice(start, start + COLUMNS)
        first = start if triangular else 0  # above this row, these columns and all after them are zero
        part = covariance[first:, first:] @ reference_factor[first:, columns]
        product[start:, columns] = reference_factor[first:, start:].mT @ part
    return product


def sum_of_roots(product: Tensor, whole: bool = False) -> Tensor:
    """Return the trace of the root of a positive semidefinite matrix, by its lower triangle, float64 [R, R].

    What rounding makes of a zero is left out: the root would raise an error of 1e-16 to one of 1e-8. It
    stays below EPS times the norm. Where the matrix is known to be `whole`, none of its eigenvalues is zero.
    """
    eigenvalues = torch.linalg.eigvalsh(product, UPLO="L")
    least = 0.0 if whole else EPS * float(eigenvalues.norm())
    return eigenvalues[eigenvalues > least].sqrt().sum()


def frechet_distance(a: Moments, b: Moments, factor_of_b: Tensor | None = None) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), at least 0.

    Heusel et al. 2017 (arXiv 1706.08500), equation 6; Dowson and Landau 1982. In squared units of the
    features. `factor_of_b`, `factor(b.covariance)`, saves time where many sets meet the same `b`.
    """
    if factor_of_b is None:
        factor_of_b = factor(b.covariance)
    means = (a.mean - b.mean).square().sum()
    spreads = a.covariance.trace() + b.covariance.trace() - 2 * trace_of_root(factor_of_b, a.covariance)
    return max(0.0, float(means + spreads))


class FewRows:
    """Images that are no more than there are features, against one Gaussian: the same distance, from [N, N].

    With X the centred features, S2 = X^T X / (N - 1), and S1 S2 has the nonzero eigenvalues of
    X S1 X^T / (N - 1): N x N instead of D x D, and S1 need not be taken apart. To leave images out is to
    leave out rows and columns and to centre anew, so that X S1 X^T is formed once for all of a jackknife.

    Args:
        rows: features, float [N, D]; kept in float64, which is no more than a covariance takes.
        target: mean and covariance of the reference.
    """

    def __init__(self, rows: Tensor, target: Moments) -> None:
        self.target = target
        self.rows = rows.double() - target.mean
        # Centred once here as well: of products of large numbers, centring would leave rounding.
        centred = self.rows - self.rows.mean(0)
        self.products = centred @ target.covariance @ centred.mT

    def distance(self, kept: Tensor) -> float:
        """Return what `frechet_distance` does of the images where `kept`, bool [N], is true: at least one."""
        rows = self.rows[kept]
        mean = rows.mean(0)
        degrees = max(len(rows) - 1, 1)
        products = self.products[kept][:, kept]
        products = products - products.mean(0)
        products = products - products.mean(1, keepdim=True)
        spread = (rows - mean).square().sum() / degrees + self.target.covariance.trace()
        return max(0.0, float(mean.square().sum() + spread - 2 * sum_of_roots(products / degrees)))


@dataclass(frozen=True)
class FrechetDistance(Metric):
    """Fréchet distance between the features of generated and of reference images.

    Biased upward for few images, the more the more features there are: figures of different numbers
    of images are not comparable. With no more images than features the covariance is singular, and
    the figure is refused unless forced.

    The spread errs on the safe side near zero, where a distance is mostly that bias: for real digits the
    jackknife says 0.07 where repeated draws of 360 scatter by 0.05, for draws of 100 it says twice too much.
    """

    better = "lower"

    def least(self, width: Width, classes: int = 0) -> int:
        """One image more than there are features: the fewest with a covariance of full rank."""
        return width(self.feature) + 1

    def value(self, generated: FeatureSet, reference: FeatureSet) -> Value:
        """Return the distance, its jackknife spread, and the distance within each class."""
        distance = self._distances(generated, reference.moments(self.feature))
        groups = generated.groups
        left_out = [distance(group) for group in groups] if len(groups) > 1 else []
        classes = by_class(generated, reference, 2, lambda label: self._within(generated, reference, label))
        return with_spread(distance(None), left_out, len(generated), classes)

    def _distances(self, generated: FeatureSet, target: Moments) -> Callable[[int | None], float]:
        """Return the distance as a function of the group that is left out."""
        if len(generated) <= generated.dimensions(self.feature):
            few, group = FewRows(generated.rows(self.feature), target), generated.group
            return lambda without: few.distance(group != (-1 if without is None else without))
        target_factor = factor(target.covariance)
        return lambda without: frechet_distance(
            generated.moments(self.feature, without), target, target_factor
        )

    def _within(self, generated: FeatureSet, reference: FeatureSet, label: int) -> float:
        """Return the distance between the images of one class."""
        target = reference.class_moments(self.feature, label)
        mine = generated.labels == label
        if int(mine.sum()) > generated.dimensions(self.feature):
            return frechet_distance(generated.class_moments(self.feature, label), target)
        few = FewRows(generated.rows(self.feature)[mine], target)
        return few.distance(torch.ones(len(few.rows), dtype=torch.bool))
