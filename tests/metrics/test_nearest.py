import math

import pytest
import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.metrics import distances
from triptych.metrics import nearest as module
from triptych.metrics.features import FeatureSet
from triptych.metrics.nearest import NearestReference, nearest

NEAREST = NearestReference("nearest_reference", "classifier")


def gaussian(count: int, dimensions: int, seed: int) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def measured(rows: Tensor, others: Tensor, labels: Tensor | None = None, other_labels: Tensor | None = None):
    return NEAREST(
        FeatureSet.of({"features": rows}, labels), FeatureSet.of({"features": others}, other_labels)
    )


@pytest.mark.parametrize("block", [7, 2048])
@pytest.mark.parametrize("k", [1, 4])
def test_agrees_with_all_distances_sorted(k: int, block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BLOCK", block)
    rows, others = 50 + gaussian(60, 6, 0), 50 + gaussian(90, 6, 1)
    expected = (rows[:, None].double() - others.double()).norm(dim=2).sort(dim=1, stable=True)
    found = nearest(rows, others, k)
    assert found.distance.dtype == torch.float32
    assert torch.equal(found.index, expected.indices[:, :k])
    torch.testing.assert_close(found.distance, expected.values[:, :k].float())


def test_copies_are_at_no_distance_however_far_from_the_origin():
    others = 1000 + gaussian(300, 50, 0)
    copied = torch.tensor([5, 299, 17])
    found = nearest(others[copied], others)
    assert torch.equal(found.index[:, 0], copied)
    assert found.distance.tolist() == [[0], [0], [0]]


def test_more_neighbours_than_images_are_refused():
    with pytest.raises(ValueError, match="4 neighbours among 3"):
        nearest(gaussian(5, 2, 0), gaussian(3, 2, 1), 4)
    assert nearest(gaussian(5, 2, 0), gaussian(3, 2, 1), 3).index.sort().values.tolist() == [[0, 1, 2]] * 5


def test_copies_draw_the_mean_down_in_proportion():
    others, fresh = gaussian(500, 4, 0), gaussian(200, 4, 1)
    half_copied = torch.cat([fresh[:100], others[:100]])
    value, other = measured(half_copied, others), measured(fresh[:100], others)
    assert value.estimate == pytest.approx(other.estimate / 2)


def test_each_class_is_looked_for_among_all():
    rows, others = gaussian(40, 3, 0), gaussian(60, 3, 1)
    labels, other_labels = torch.arange(40) % 2, torch.arange(60) % 2
    value = measured(rows, others, labels, other_labels)
    distance = nearest(rows, others).distance[:, 0].double()
    expected = (float(distance[labels == 0].mean()), float(distance[labels == 1].mean()))
    assert value.per_class == pytest.approx(expected)
    assert value.per_class_n == (20, 20)


def test_spread_is_the_scatter_of_repeated_measurements():
    others = gaussian(300, 3, 1000)
    values = [measured(gaussian(200, 3, seed), others) for seed in range(80)]
    scatter = float(torch.tensor([v.estimate for v in values]).std())
    claimed = math.sqrt(sum(v.spread**2 for v in values) / len(values))
    assert claimed == pytest.approx(scatter, rel=0.3)


def test_one_image_is_refused():
    with pytest.raises(UserError, match="at least 2"):
        measured(gaussian(1, 3, 0), gaussian(30, 3, 1))


@pytest.mark.parametrize("block", [16, 2048])
def test_neighbours_within_a_set_by_its_parts(block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(distances, "BLOCK", block)
    rows, part = gaussian(150, 5, 0), torch.arange(150) % 4
    found = distances.neighbour_distances(rows, part, 3, distances.middle(rows))
    every = torch.cdist(rows.double(), rows.double()).square().fill_diagonal_(torch.inf)
    for one in range(4):
        expected = every[:, part == one].sort(dim=1).values[:, :3]
        torch.testing.assert_close(found[:, one], expected.float(), rtol=1e-4, atol=1e-5)


def test_parts_with_fewer_others_than_asked_for():
    rows, part = gaussian(5, 2, 0), torch.tensor([0, 0, 0, 1, 1])
    found = distances.neighbour_distances(rows, part, 3, distances.middle(rows))
    assert found.isfinite().sum(2).tolist() == [[2, 2]] * 3 + [[3, 1]] * 2
