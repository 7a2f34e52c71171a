import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.metrics import diversity
from triptych.metrics.diversity import (
    ClassDiversity,
    OverallDiversity,
    PairDiversity,
    Pairs,
    pairs_within_class,
    squared_distances,
)
from triptych.metrics.features import FeatureSet
from triptych.metrics.metric import Value

DIVERSITY = PairDiversity("diversity_classifier", "classifier")
WITHIN = ClassDiversity("lpips_diversity", "lpips", squared=True)
OVERALL = OverallDiversity("lpips_diversity_all", "lpips", squared=True)


def features(rows: Tensor, labels: Tensor | None) -> FeatureSet:
    out = FeatureSet({DIVERSITY.feature})
    out.add({"features": rows}, labels, torch.arange(len(rows)))
    return out


def measured(rows: Tensor, labels: Tensor | None, metric: PairDiversity = DIVERSITY) -> Value:
    out = features(rows, labels)
    return metric(out, out)


def gaussian(count: int, dimensions: int, seed: int) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def test_identical_images_have_none():
    value = measured(torch.ones(30, 5), torch.arange(30) % 3)
    assert (value.estimate, value.spread, value.per_class) == (0.0, 0.0, (0.0, 0.0, 0.0))


def test_one_image_per_class_repeated_has_none_however_far_classes_lie_apart():
    labels = torch.arange(30) % 3
    assert measured(100.0 * labels[:, None].expand(30, 2).float(), labels).estimate == 0
    assert measured(100.0 * labels[:, None].expand(30, 2).float(), None).estimate > 50


@pytest.mark.parametrize("classes", [1, 10])
def test_one_image_more_than_classes_in_turn_is_the_fewest(classes: int):
    count = classes + 1
    assert measured(gaussian(count, 3, 0), torch.arange(count) % classes).estimate > 0
    DIVERSITY.check_count(count, lambda name: 3, classes)
    with pytest.raises(UserError, match=f"at least {count}"):
        DIVERSITY.check_count(classes, lambda name: 3, classes)


def test_mean_distance_of_independent_normals():
    # |x - y|^2 / 2 is chi-squared with D degrees of freedom, so |x - y| has mean 2 G((D+1)/2) / G(D/2).
    dimensions = 6
    expected = 2 * math.exp(math.lgamma((dimensions + 1) / 2) - math.lgamma(dimensions / 2))
    value = measured(gaussian(2000, dimensions, 0), torch.arange(2000) % 10)
    assert value.estimate == pytest.approx(expected, abs=4 * value.spread)
    assert value.spread < 0.03 * expected


def test_pairs_are_of_one_class_and_of_two_images():
    index, labels = torch.arange(0, 200, 2), torch.arange(100) % 7
    first, second = pairs_within_class(index, labels, 5)
    assert len(first) == 500
    assert torch.equal(labels[first], labels[second])
    assert bool((first != second).all())
    assert first.bincount().tolist() == [5] * 100


def test_pairs_reach_every_classmate_alike():
    first, second = pairs_within_class(torch.arange(6), torch.zeros(6, dtype=torch.int64), 20_000)
    times = torch.zeros(6, 6).index_put((first, second), torch.ones(len(first)), accumulate=True)
    off_diagonal = times[~torch.eye(6, dtype=torch.bool)]
    assert float((off_diagonal - 4000).abs().max()) < 5 * math.sqrt(4000)


def test_pairs_depend_on_the_seed_alone():
    index, labels = torch.arange(50), torch.arange(50) % 5
    assert torch.equal(
        pairs_within_class(index, labels, 4).second, pairs_within_class(index, labels, 4).second
    )
    other = pairs_within_class(index, labels, 4, seed=1).second
    assert not torch.equal(pairs_within_class(index, labels, 4).second, other)


def test_spread_is_the_scatter_of_repeated_measurements():
    values = [measured(gaussian(200, 4, seed), torch.arange(200) % 4) for seed in range(80)]
    scatter = float(torch.tensor([v.estimate for v in values]).std())
    claimed = math.sqrt(sum(v.spread**2 for v in values) / len(values))
    assert claimed == pytest.approx(scatter, rel=0.25)


def test_a_class_with_one_image_has_no_figure_and_does_not_disturb_the_others():
    labels = torch.tensor([0] * 10 + [1])
    value = measured(gaussian(11, 3, 0), labels)
    assert value.per_class is None
    assert value.estimate > 0


def test_no_pair_at_all_is_refused():
    with pytest.raises(UserError, match="no two of them are of one class"):
        measured(gaussian(4, 3, 0), torch.arange(4))


def test_mean_square_of_independent_normals():
    # |x - y|^2 has mean 2 D; the metric of squares is not the square of the metric.
    value = measured(gaussian(2000, 6, 0), torch.arange(2000) % 10, WITHIN)
    assert value.estimate == pytest.approx(12, abs=4 * value.spread)
    assert value.spread < 0.05 * 12
    assert value.estimate > 1.02 * measured(gaussian(2000, 6, 0), torch.arange(2000) % 10).estimate ** 2


def test_within_classes_there_is_no_figure_without_them():
    assert WITHIN.labelled
    with pytest.raises(UserError, match="lpips_diversity of images without labels"):
        measured(gaussian(20, 3, 0), None, WITHIN)


def test_over_all_pairs_labels_make_no_difference():
    rows, labels = gaussian(60, 3, 0), torch.arange(60) % 3
    rows[:, 0] += 100.0 * labels
    value = measured(rows, labels, OVERALL)
    assert not OVERALL.labelled
    bare = measured(rows, None, OVERALL)
    assert value.estimate == bare.estimate  # what differs is which images a spread leaves out together
    assert value.per_class is None
    assert value.estimate > 100 * measured(rows, labels, WITHIN).estimate
    assert OVERALL.least(lambda name: 3, classes=10) == 2
    assert measured(rows[:2], labels[:2], OVERALL).estimate > 0


def test_classes_that_look_alike_are_as_diverse_together_as_alone():
    rows, labels = gaussian(3000, 4, 0), torch.arange(3000) % 3
    within, overall = measured(rows, labels, WITHIN), measured(rows, labels, OVERALL)
    assert within.estimate == pytest.approx(
        overall.estimate, abs=4 * math.hypot(within.spread, overall.spread)
    )


@pytest.mark.parametrize("values", [1, 7, 10**9])
def test_distances_do_not_depend_on_how_many_are_taken_at_a_time(
    values: int, monkeypatch: pytest.MonkeyPatch
):
    rows = gaussian(50, 5, 0)
    pairs = pairs_within_class(torch.arange(50), torch.arange(50) % 5, 4)
    monkeypatch.setattr(diversity, "CHUNK_VALUES", values)
    expected = (rows.double()[pairs.first] - rows.double()[pairs.second]).norm(dim=1) ** 2
    torch.testing.assert_close(squared_distances(rows, pairs), expected)


def test_close_images_with_large_features_keep_their_distance():
    rows = torch.tensor(
        [[4096.0, 1.0], [4096.0 + 2**-11, 1.0]]
    )  # in float32 squares of the two cancel to nothing
    (distance,) = squared_distances(rows, Pairs(torch.tensor([0]), torch.tensor([1])))
    assert float(distance) == 2.0**-22


def test_rows_may_be_a_map_of_a_file(tmp_path: Path):
    rows = gaussian(40, 6, 0)
    (tmp_path / "rows").write_bytes(rows.numpy().tobytes())
    mapped = torch.from_file(str(tmp_path / "rows"), shared=False, size=240).reshape(40, 6)
    pairs = pairs_within_class(torch.arange(40), torch.zeros(40, dtype=torch.int64), 3)
    assert torch.equal(squared_distances(mapped, pairs), squared_distances(rows, pairs))
