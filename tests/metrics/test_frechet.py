import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance, _compute_fid

from triptych.errors import UserError
from triptych.metrics.features import FeatureSet
from triptych.metrics.frechet import (
    COLUMNS,
    FewRows,
    FrechetDistance,
    factor,
    frechet_distance,
    half,
    lower_triangle,
)
from triptych.metrics.moments import Moments

FD = FrechetDistance("fd", "classifier")


def samples(count: int, dimensions: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimensions, dimensions, generator=torch.Generator().manual_seed(7)).double()
    return scale * torch.randn(count, dimensions, generator=generator, dtype=torch.float64) @ mixing


def moments(rows: Tensor) -> Moments:
    return Moments(len(rows), rows.mean(0), torch.cov(rows.mT))


def features(rows: Tensor, labels: Tensor | None = None) -> FeatureSet:
    out = FeatureSet({FD.feature})
    out.add({"features": rows}, labels, torch.arange(len(rows)))
    return out


def slow_frechet(a: Moments, b: Moments) -> float:
    """Follow the textbook: a general matrix square root of the unsymmetric product, its real part taken."""
    root = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy())
    means = float(((a.mean - b.mean) ** 2).sum())
    return means + float(np.trace(a.covariance.numpy() + b.covariance.numpy() - 2 * np.real(root)))


def test_equal_covariances_leave_the_squared_distance_of_the_means():
    a = moments(samples(200, 12, 0))
    shift = torch.linspace(-1, 2, 12, dtype=torch.float64)
    b = a._replace(mean=a.mean + shift)
    assert frechet_distance(a, b) == pytest.approx(float(shift.square().sum()), rel=1e-10)


def test_diagonal_covariances_leave_squared_differences_of_deviations():
    p, q = torch.tensor([1.0, 2.0, 0.0, 3.0]).double(), torch.tensor([4.0, 2.0, 5.0, 0.0]).double()
    a, b = Moments(9, torch.zeros(4), p.square().diag()), Moments(9, torch.zeros(4), q.square().diag())
    assert frechet_distance(a, b) == pytest.approx(float((p - q).square().sum()), rel=1e-12)


@pytest.mark.parametrize("count", [400, 5], ids=["full-rank", "singular"])
def test_distance_to_itself_is_zero(count: int):
    a = moments(samples(count, 16, 0))
    assert frechet_distance(a, a) < 1e-10 * float(a.covariance.trace())


@pytest.mark.parametrize("count", [300, 6], ids=["full-rank", "singular"])
def test_symmetric_and_equal_under_rotation(count: int):
    a, b = moments(samples(count, 16, 0)), moments(samples(300, 16, 1, scale=1.3))
    turn = torch.linalg.qr(samples(16, 16, 5)).Q
    turned = [Moments(m.count, turn @ m.mean, turn @ m.covariance @ turn.mT) for m in (a, b)]
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-8)
    assert frechet_distance(*turned) == pytest.approx(frechet_distance(a, b), rel=1e-8)


@pytest.mark.parametrize("dimensions", [3, 64])
def test_agrees_with_a_general_matrix_square_root(dimensions: int):
    a, b = moments(samples(500, dimensions, 0)), moments(samples(400, dimensions, 1, scale=0.8))
    assert frechet_distance(a, b) == pytest.approx(slow_frechet(a, b), rel=1e-8)


@pytest.mark.parametrize("dimensions", [3, 64])
def test_agrees_with_the_arithmetic_of_torchmetrics(dimensions: int):
    a, b = moments(samples(500, dimensions, 0)), moments(samples(400, dimensions, 1, scale=0.8))
    theirs = _compute_fid(a.mean, a.covariance, b.mean, b.covariance)
    assert frechet_distance(a, b) == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize("smallest", [-1, -3])
def test_features_of_very_unlike_size_agree_with_the_singular_values(smallest: int):
    # Of F1^T F2, which are the roots of the eigenvalues of S1 S2, without the squares that cost digits.
    sizes, turn = torch.logspace(1, smallest, 120).double(), torch.linalg.qr(samples(120, 120, 9)).Q
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(400, 120, generator=generator).double() * sizes * s @ turn for s in (1, 1.1)]
    a, b = map(moments, drawn)
    roots = torch.linalg.svdvals(torch.linalg.cholesky(a.covariance).mT @ torch.linalg.cholesky(b.covariance))
    spreads = a.covariance.trace() + b.covariance.trace() - 2 * roots.sum()
    expected = float((a.mean - b.mean).square().sum() + spreads)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(a, b) == pytest.approx(slow_frechet(a, b), rel=1e-6)


def test_factor_is_triangular_unless_the_covariance_is_singular():
    whole = moments(samples(50, 8, 0)).covariance
    assert torch.equal(factor(whole), torch.linalg.cholesky(whole))
    seen = (torch.arange(8) != 2).double()  # the third feature is always zero
    for singular in (moments(samples(5, 8, 0)).covariance, whole * seen.outer(seen)):
        found = factor(singular)
        assert found.shape[1] < 8
        torch.testing.assert_close(found @ found.mT, singular, rtol=0, atol=1e-12 * float(singular.norm()))


@pytest.mark.parametrize("dimensions", [2, COLUMNS, COLUMNS + 1, 2 * COLUMNS + 90])
@pytest.mark.parametrize("kind", ["triangular", "square", "few columns"])
def test_a_product_by_parts_is_the_whole_one_from_its_diagonal_downwards(dimensions: int, kind: str):
    f = samples(dimensions, dimensions, 0)
    covariance = moments(samples(dimensions + 9, dimensions, 1)).covariance
    f = {"triangular": f.tril(), "square": f, "few columns": f[:, : dimensions // 2 + 1]}[kind]
    expected = (f.mT @ covariance @ f).tril()
    found = lower_triangle(f, covariance).tril()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13 * float(expected.norm()))


@pytest.mark.parametrize("count", [2, 5, 16])
@pytest.mark.parametrize("others", [10, 200])
def test_few_rows_give_what_their_covariance_gives(count: int, others: int):
    rows, target = 30 + samples(count, 16, 0), moments(30 + samples(others, 16, 1, scale=1.3))
    few = FewRows(rows, target)
    everything = torch.ones(count, dtype=torch.bool)
    expected = frechet_distance(moments(rows), target)
    assert few.distance(everything) == pytest.approx(expected, rel=1e-7)
    if count > 2:
        kept = torch.arange(count) != 1
        assert few.distance(kept) == pytest.approx(frechet_distance(moments(rows[kept]), target), rel=1e-7)


def test_few_images_take_the_same_way_to_whole_and_jackknife():
    rows, others = samples(14, 16, 0).float(), samples(300, 16, 1).float()
    value = FD(features(rows), features(others), force=True)
    target, group = moments(others.double()), features(rows).group
    assert value.estimate == pytest.approx(frechet_distance(moments(rows.double()), target), rel=1e-8)
    expected = [frechet_distance(moments(rows[group != g].double()), target) for g in range(10)]
    assert value.groups == pytest.approx(expected, rel=1e-8)


def test_classes_of_fewer_images_than_features():
    rows, others = samples(40, 16, 0).float(), samples(90, 16, 1).float()
    labels, other_labels = torch.arange(40) % 4, torch.arange(90) % 4
    value = FD(features(rows, labels), features(others, other_labels))
    for label, distance in enumerate(value.per_class):
        own, target = moments(rows[labels == label].double()), moments(others[other_labels == label].double())
        assert distance == pytest.approx(frechet_distance(own, target), rel=1e-8)


def test_singular_covariances_agree_with_the_closed_form_on_their_common_plane():
    plane = torch.linalg.qr(samples(10, 10, 3)).Q[:, :4]
    a, b = moments(samples(100, 4, 0)), moments(samples(90, 4, 1, scale=2))
    lifted = [Moments(m.count, plane @ m.mean, plane @ m.covariance @ plane.mT) for m in (a, b)]
    assert half(lifted[0].covariance).shape == (10, 4)
    assert frechet_distance(*lifted) == pytest.approx(frechet_distance(a, b), rel=1e-8)


def test_one_image_against_many_has_no_cross_term():
    point, cloud = Moments(1, torch.ones(6).double(), torch.zeros(6, 6).double()), moments(samples(50, 6, 0))
    expected = float((1 - cloud.mean).square().sum() + cloud.covariance.trace())
    assert frechet_distance(point, cloud) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(cloud, point) == pytest.approx(expected, rel=1e-12)


def test_agrees_with_torchmetrics():
    class Flat(nn.Module):
        num_features = 8

        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).double()

    generator = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (60, 2, 2, 2), generator=generator, dtype=torch.uint8)
    fake = torch.randint(40, 200, (50, 2, 2, 2), generator=generator, dtype=torch.uint8)
    theirs = FrechetInceptionDistance(feature=Flat(), input_img_size=(2, 2, 2)).set_dtype(torch.float64)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    ours = FD(features(fake.flatten(1).float()), features(real.flatten(1).float()))
    assert ours.estimate == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_each_class_is_the_distance_of_its_own_images():
    rows, others = samples(90, 4, 0).float(), samples(120, 4, 1, scale=1.5).float()
    labels, other_labels = torch.arange(90) % 3, torch.arange(120) % 3
    value = FD(features(rows, labels), features(others, other_labels))
    for label, distance in enumerate(value.per_class):
        own, target = moments(rows[labels == label].double()), moments(others[other_labels == label].double())
        assert distance == pytest.approx(frechet_distance(own, target), rel=1e-9)
    assert value.per_class_n == (30, 30, 30)


def test_classes_that_the_reference_lacks_give_no_class_figures():
    rows = samples(60, 4, 0)
    reference = features(samples(60, 4, 1), torch.arange(60) % 2)
    assert FD(features(rows, torch.arange(60) % 3), reference).per_class is None
    assert FD(features(rows), reference).per_class is None


def test_refuses_fewer_images_than_features_and_one_unless_forced():
    reference = features(samples(100, 8, 0))
    assert FD(features(samples(9, 8, 1)), reference).n == 9
    with pytest.raises(UserError, match="at least 9"):
        FD(features(samples(8, 8, 1)), reference)
    assert math.isfinite(FD(features(samples(8, 8, 1)), reference, force=True).estimate)
    with pytest.raises(UserError, match="at least 2"):
        FD(features(samples(1, 8, 1)), reference, force=True)


def test_refuses_features_of_another_extractor():
    other = FeatureSet({FD.feature}, extractor="another")
    other.add({"features": samples(20, 4, 0)}, None, torch.arange(20))
    with pytest.raises(ValueError, match="different extractors"):
        FD(features(samples(20, 4, 0)), other)


def test_jackknife_spread_is_the_scatter_of_repeated_measurements():
    reference = features(samples(20_000, 4, 0))
    values = [FD(features(samples(400, 4, seed, scale=1.3)), reference) for seed in range(1, 61)]
    scatter = float(torch.tensor([v.estimate for v in values]).std())
    claimed = math.sqrt(sum(v.spread**2 for v in values) / len(values))
    assert claimed == pytest.approx(scatter, rel=0.25)  # 60 repetitions know it to about 10 %
