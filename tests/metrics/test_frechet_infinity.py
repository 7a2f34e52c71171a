import math

import pytest
import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.metrics.features import FeatureSet
from triptych.metrics.frechet import FrechetDistance, factor, frechet_distance
from triptych.metrics.frechet_infinity import FrechetInfinity, intercept
from triptych.metrics.moments import Moments

D = 32
"""Features; 160 images of 32 are to one another as 10,000 of 2,048."""
FD, INFINITE = FrechetDistance("fd", "classifier"), FrechetInfinity("fd_infinity", "classifier")
DEVIATIONS = torch.logspace(0, -1.25, D, dtype=torch.float64)
MODEL = DEVIATIONS * (1 + 0.25 * (-1.0) ** torch.arange(D))
"""Standard deviations of the real and of the generated features, which are independent."""


def drawn(count: int, seed: int) -> FeatureSet:
    rows = 0.1 + torch.randn(count, D, generator=torch.Generator().manual_seed(seed)) * MODEL
    return FeatureSet.of({"features": rows.float()}, None)


class Known(FeatureSet):
    """The reference itself, of which no image has to be drawn."""

    def moments(self, name: str, without_group: int | None = None) -> Moments:
        return Moments(10**9, torch.zeros(D, dtype=torch.float64), DEVIATIONS.square().diag())


REAL = Known.of({"features": torch.zeros(2, D)}, None)
TRUTH = float(D * 0.1**2 + (DEVIATIONS - MODEL).square().sum())


def by_growing_subsets(images: FeatureSet, points: int = 15) -> float:
    """Follow the paper's regression, over images in the order that they come in."""
    target = REAL.moments("features")
    root, rows = factor(target.covariance), images.rows("features").double()
    sizes = torch.linspace(D, len(rows), points).round().long()
    parts = [Moments(m, rows[:m].mean(0), torch.cov(rows[:m].mT)) for m in sizes.tolist()]
    figures = torch.tensor([frechet_distance(part, target, root) for part in parts], dtype=torch.float64)
    return float(intercept(sizes.double(), figures))


def test_a_line_is_continued_to_its_end():
    sizes = torch.tensor([10.0, 20.0, 70.0, 100.0]).double()
    assert float(intercept(sizes, 3 + 50 / sizes)) == pytest.approx(3, rel=1e-12)


def test_finds_the_true_distance_where_the_plain_figure_is_far_off():
    sets = [drawn(160, seed) for seed in range(60)]
    plain = torch.tensor([FD(images, REAL).estimate for images in sets]) - TRUTH
    ours = torch.tensor([INFINITE(images, REAL).estimate for images in sets]) - TRUTH
    theirs = torch.tensor([by_growing_subsets(images) for images in sets]) - TRUTH

    def error(off: Tensor) -> float:
        return float(off.square().mean().sqrt())

    assert float(plain.mean()) > 0.25 * TRUTH
    assert abs(float(ours.mean())) < 0.15 * float(plain.mean())
    assert error(ours) < 0.4 * error(plain)
    assert error(ours) < 0.9 * error(theirs)


def test_spread_is_the_scatter_of_repeated_measurements():
    values = [INFINITE(drawn(200, seed), REAL) for seed in range(60)]
    scatter = float(torch.tensor([v.estimate for v in values]).std())
    claimed = math.sqrt(sum(v.spread**2 for v in values) / len(values))
    assert 0.6 * scatter < claimed < 2 * scatter


def test_cut_depends_on_the_seed_alone():
    images = drawn(200, 0)
    assert INFINITE(images, REAL) == INFINITE(drawn(200, 0), REAL)
    other = FrechetInfinity("fd_infinity", "classifier", seed=1)
    assert INFINITE(images, REAL).estimate != other(images, REAL).estimate


def test_more_sizes_give_about_the_same():
    images = drawn(400, 0)
    value, other = INFINITE(images, REAL), FrechetInfinity("fd", "classifier", parts=(1, 2, 4))(images, REAL)
    assert other.estimate == pytest.approx(value.estimate, abs=value.spread)


def test_too_few_images_for_the_smallest_part_are_refused():
    with pytest.raises(UserError, match=f"at least {4 * (D + 1)}"):
        INFINITE(drawn(4 * D + 3, 0), REAL)
    assert math.isfinite(INFINITE(drawn(4 * D + 4, 0), REAL).estimate)
    for count in (2, 3):
        assert math.isfinite(INFINITE(drawn(count, 0), REAL, force=True).estimate)


@pytest.mark.parametrize(("count", "low", "high"), [(2 * (D + 1), 1.2, 2.0), (4 * (D + 1), 0.3, 1.0)])
def test_how_far_the_line_s_end_is_too_low_in_the_worst_case(count, low, high):
    """All features alike: the bias in units of the spread, of as few images as it takes and of half."""

    class Alike(FeatureSet):
        def moments(self, name: str, without_group: int | None = None) -> Moments:
            return Moments(10**9, torch.zeros(D, dtype=torch.float64), torch.eye(D, dtype=torch.float64))

    def images(seed: int) -> FeatureSet:
        rows = torch.randn(count, D, generator=torch.Generator().manual_seed(seed))
        return FeatureSet.of({"features": rows}, None)

    real = Alike.of({"features": torch.zeros(2, D)}, None)
    values = [INFINITE(images(seed), real, force=True) for seed in range(60)]
    spread = math.sqrt(sum(value.spread**2 for value in values) / len(values))
    assert low < -sum(value.estimate for value in values) / len(values) / spread < high
