import math

import pytest
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from triptych.errors import UserError
from triptych.metrics.features import FeatureSet
from triptych.metrics.kernel_distance import KernelDistance

KID = KernelDistance("kid", "inception")


def gaussian(count: int, dimensions: int, seed: int, shift: float = 0.0) -> Tensor:
    return shift + torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def measured(rows: Tensor, others: Tensor, metric: KernelDistance = KID):
    return metric(FeatureSet.of({"features": rows}, None), FeatureSet.of({"features": others}, None))


def slow_discrepancy(x: Tensor, y: Tensor) -> float:
    """Follow the definition, pair by pair."""
    x, y = x.double().tolist(), y.double().tolist()

    def k(a: list[float], b: list[float]) -> float:
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    m, n = len(x), len(y)
    within = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    others = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within + others - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


def test_follows_the_definition():
    x, y = gaussian(40, 3, 0, 0.3), gaussian(40, 3, 1)
    assert measured(x, y).estimate == pytest.approx(slow_discrepancy(x, y), rel=1e-10)


def test_jackknife_figures_are_those_of_the_images_that_are_left():
    x, y = gaussian(60, 3, 0, 0.3), gaussian(60, 3, 1)
    value = measured(x, y)
    kept = x[FeatureSet.of({"features": x}, None).group != 4]
    assert value.groups[4] == pytest.approx(slow_discrepancy(kept, y), rel=1e-9)


def test_agrees_with_torchmetrics_on_whole_sets():
    x, y = gaussian(1500, 20, 0, 0.1), gaussian(1500, 20, 1)
    metric = KernelDistance("kid", "inception", subset_size=1500)
    expected = float(poly_mmd(y.double(), x.double()))
    assert measured(x, y, metric).estimate == pytest.approx(expected, rel=1e-6)


def test_mean_shift_has_its_closed_form():
    # With x ~ N(a, I), y ~ N(b, I): E k(x, y) = E (1 + g)^3 for g = x.y / D, by the moments of x.y.
    dimensions, shift = 4, 0.5

    def moments(a: float, b: float) -> float:
        # First three moments of x.y for D independent products of normals with means a, b and variance 1.
        one, two = a * b, (a * a + 1) * (b * b + 1)
        three = (a**3 + 3 * a) * (b**3 + 3 * b)
        variance, third = two - one**2, three - 3 * one * two + 2 * one**3
        m, v, t = dimensions * one, dimensions * variance, dimensions * third
        first, second, cube = m, v + m * m, t + 3 * m * v + m**3
        d = dimensions
        return 1 + 3 * first / d + 3 * second / d**2 + cube / d**3

    truth = moments(shift, shift) + moments(0, 0) - 2 * moments(shift, 0)
    metric = KernelDistance("kid", "inception", subset_size=4000)
    value = measured(gaussian(4000, dimensions, 0, shift), gaussian(4000, dimensions, 1), metric)
    assert value.estimate == pytest.approx(truth, rel=0.1)


def test_unbiased_and_around_zero_for_sets_of_one_kind():
    y = gaussian(2000, 6, 1000)
    values = [
        measured(gaussian(100, 6, seed), y, KernelDistance("kid", "i", subsets=5)) for seed in range(60)
    ]
    estimates = torch.tensor([v.estimate for v in values])
    assert abs(float(estimates.mean())) < 4 * float(estimates.std()) / math.sqrt(60)
    assert float(estimates.min()) < 0


def test_mean_and_deviation_over_subsets_are_near_the_whole():
    x, y = gaussian(1000, 8, 0, 0.2), gaussian(1200, 8, 1)
    value = measured(x, y, KernelDistance("kid", "inception", subset_size=200))
    whole = measured(x, y, KernelDistance("kid", "inception", subset_size=1000, subsets=10))
    assert value.split_std > 2 * whole.split_std
    assert value.estimate == pytest.approx(whole.estimate, abs=4 * value.split_std / 10)


def test_one_and_the_same_whole_set_is_drawn_but_once():
    value = measured(gaussian(50, 4, 0, 0.5), gaussian(50, 4, 1))
    assert value.split_std == 0


@pytest.mark.parametrize("shift", [0.3, 1.0])
def test_spread_is_the_scatter_of_repeated_measurements(shift: float):
    y = gaussian(1000, 5, 1000)
    metric = KernelDistance("kid", "inception", subset_size=100, subsets=20)
    values = [measured(gaussian(300, 5, seed, shift), y, metric) for seed in range(60)]
    scatter = float(torch.tensor([v.estimate for v in values]).std())
    claimed = math.sqrt(sum(v.spread**2 for v in values) / len(values))
    assert 0.6 * scatter < claimed < 1.7 * scatter


def test_one_image_is_refused():
    with pytest.raises(UserError, match="at least 2"):
        measured(gaussian(1, 4, 0), gaussian(50, 4, 1))
    assert math.isfinite(measured(gaussian(2, 4, 0), gaussian(50, 4, 1)).estimate)
