import gc
import math

import pytest
import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.metrics import distances, manifold
from triptych.metrics.features import FeatureSet
from triptych.metrics.manifold import Coverage, Density, ManifoldMetric, Precision, Recall

PRECISION, RECALL = Precision("precision", "inception"), Recall("recall", "inception")
DENSITY, COVERAGE = Density("density", "inception"), Coverage("coverage", "inception")
ALL = (PRECISION, RECALL, DENSITY, COVERAGE)
IDS = [metric.name for metric in ALL]


def gaussian(count: int, dimensions: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def features(rows: Tensor) -> FeatureSet:
    return FeatureSet.of({"features": rows}, None)


def measured(metric: ManifoldMetric, rows: Tensor, others: Tensor):
    return metric(features(rows), features(others))


def slow_figures(rows: Tensor, others: Tensor) -> dict[str, float]:
    """Follow the definitions, with all distances at once."""
    x, y = rows.double(), others.double()
    between = torch.cdist(y, x)  # [M, N]

    def reach(points: Tensor, k: int) -> Tensor:
        return torch.cdist(points, points).sort(dim=1).values[:, k]  # at 0 stands the image itself

    inside = between <= reach(y, 5)[:, None]
    return {
        "precision": float((between <= reach(y, 3)[:, None]).any(0).double().mean()),
        "recall": float((between <= reach(x, 3)).any(1).double().mean()),
        "density": float(inside.sum()) / (5 * len(x)),
        "coverage": float(inside.any(1).double().mean()),
    }


@pytest.mark.parametrize("block", [33, 2048])
@pytest.mark.parametrize("metric", ALL, ids=IDS)
def test_follows_the_definition(metric: ManifoldMetric, block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(distances, "BLOCK", block)
    rows, others = gaussian(150, 4, 0, 1.2), gaussian(220, 4, 1)
    value = measured(metric, rows, others)
    assert value.estimate == pytest.approx(slow_figures(rows, others)[metric.name], abs=1e-12)
    kept = rows[FeatureSet.of({"features": rows}, None).group != 6]
    assert value.groups[6] == pytest.approx(slow_figures(kept, others)[metric.name], abs=1e-12)
    assert len(value.groups) == 10


def test_a_collapsed_set_is_precise_and_recalls_little():
    others = gaussian(1000, 3, 0)
    collapsed = gaussian(500, 3, 1, 0.05)  # all near the commonest image
    assert measured(PRECISION, collapsed, others).estimate > 0.95
    assert measured(RECALL, collapsed, others).estimate < 0.05
    assert measured(COVERAGE, collapsed, others).estimate < 0.05


def test_in_many_dimensions_the_midst_is_dense():
    assert measured(DENSITY, gaussian(300, 30, 1, 0.2), gaussian(600, 30, 0)).estimate > 2


def test_a_diffuse_set_recalls_and_is_imprecise():
    others = gaussian(1000, 3, 0)
    diffuse = gaussian(1000, 3, 1, 4.0)
    assert measured(PRECISION, diffuse, others).estimate < 0.3
    assert measured(RECALL, diffuse, others).estimate > 0.9
    assert measured(DENSITY, diffuse, others).estimate < 0.3


def test_sets_far_apart_have_nothing_in_common():
    rows, others = gaussian(60, 3, 0), 100 + gaussian(60, 3, 1)
    assert [measured(metric, rows, others).estimate for metric in ALL] == [0, 0, 0, 0]


def test_a_set_is_like_itself():
    rows = gaussian(200, 5, 0)
    values = [measured(metric, rows, rows).estimate for metric in ALL]
    # Each image lies in its own ball, and in those of the five that have it among their nearest.
    assert values == pytest.approx([1, 1, 1.2, 1])


@pytest.mark.parametrize(("count", "others"), [(100, 100), (60, 300)])
def test_density_and_coverage_of_images_of_the_same_kind_are_known(count: int, others: int):
    # All being drawn alike, a new image is among the K nearest of a real one's others with chance K / M;
    # Naeem et al., lemmas 1 and 2.
    drawn = [(gaussian(count, 3, s), gaussian(others, 3, s + 1000)) for s in range(60)]
    density = torch.tensor([measured(DENSITY, *both).estimate for both in drawn])
    coverage = torch.tensor([measured(COVERAGE, *both).estimate for both in drawn])
    missed = math.prod((others - i) / (others + count - i) for i in range(1, 6))
    assert float(density.mean()) == pytest.approx(1, abs=4 * float(density.std()) / math.sqrt(60))
    assert float(coverage.mean()) == pytest.approx(1 - missed, abs=4 * float(coverage.std()) / math.sqrt(60))


SPREADS = {"precision": 1.0, "recall": 1.6, "density": 1.0, "coverage": 1.4}
"""The spread, in units of the scatter. A group that is left out also uncovers what it alone covered."""


@pytest.mark.parametrize("metric", ALL, ids=IDS)
def test_spread_is_the_scatter_of_repeated_measurements_or_known_to_be_larger(metric: ManifoldMetric):
    others = features(gaussian(400, 3, 1000))
    values = [metric(features(gaussian(300, 3, seed, 1.2)), others) for seed in range(80)]
    scatter = float(torch.tensor([v.estimate for v in values]).std())
    claimed = math.sqrt(sum(v.spread**2 for v in values) / len(values))
    assert claimed / scatter == pytest.approx(SPREADS[metric.name], rel=0.25)


def test_four_figures_take_one_pass_over_the_distances(monkeypatch: pytest.MonkeyPatch):
    passes = []
    real_pass = manifold.neighbour_distances
    monkeypatch.setattr(
        manifold,
        "neighbour_distances",
        lambda rows, *rest: passes.append(len(rows)) or real_pass(rows, *rest),
    )
    reference, first, second = (features(gaussian(n, 3, n)) for n in (90, 60, 70))
    for generated in (first, second):
        for metric in ALL:
            metric(generated, reference)
    assert sorted(passes) == [60, 70, 90]


def test_nothing_is_kept_of_sets_that_are_gone_or_have_grown():
    gc.collect()
    before = len(manifold._OVERLAPS), len(manifold._NEAREST)
    reference = features(gaussian(90, 3, 0))
    generated = FeatureSet({PRECISION.feature})
    rows = gaussian(120, 3, 1)
    generated.add({"features": rows[:60]}, None, torch.arange(60))
    small = PRECISION(generated, reference).estimate
    generated.add({"features": 9 + rows[60:]}, None, torch.arange(60, 120))
    assert PRECISION(generated, reference).estimate < small
    del generated, reference
    gc.collect()
    assert (len(manifold._OVERLAPS), len(manifold._NEAREST)) == before


def test_other_numbers_of_neighbours():
    rows, others = gaussian(100, 4, 0), gaussian(150, 4, 1)
    reach = torch.cdist(others.double(), others.double()).sort(dim=1).values[:, 8]
    inside = torch.cdist(others.double(), rows.double()) <= reach[:, None]
    value = measured(Precision("precision", "inception", neighbours=8), rows, others)
    assert value.estimate == pytest.approx(float(inside.any(0).double().mean()))


def test_too_few_images_are_refused():
    others = features(gaussian(80, 3, 1))
    with pytest.raises(UserError, match="at least 40"):
        PRECISION(features(gaussian(39, 3, 0)), others)
    with pytest.raises(UserError, match="at least 60"):
        COVERAGE(features(gaussian(59, 3, 0)), others)
    for metric in ALL:
        for count in (2, 3, 12):
            assert math.isfinite(metric(features(gaussian(count, 3, 0)), others, force=True).estimate)
