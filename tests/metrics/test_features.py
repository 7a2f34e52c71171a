import math

import pytest
import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.jackknife import jackknife_spread
from triptych.metrics import METRICS, moments
from triptych.metrics.features import GROUPS, FeatureSet
from triptych.metrics.moments import Sums

NAMES = "features", "log_probs", "lpips"
COUNT = 137


def batch(index: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Make the features of each index, the same in whatever batch it comes."""
    generator = torch.Generator().manual_seed(0)
    rows = 5 + torch.randn(COUNT, 6, generator=generator)
    scores = torch.randn(COUNT, 4, generator=generator).log_softmax(1)
    return {"features": rows[index], "log_probs": scores[index], "lpips": rows[index]}, index % 4, index


def collected(chunks: list[Tensor]) -> FeatureSet:
    out = FeatureSet(NAMES)
    for chunk in chunks:
        out.add(*batch(chunk))
    return out


def whole() -> FeatureSet:
    return collected([torch.arange(COUNT)])


def shuffled() -> Tensor:
    return torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))


ARRANGEMENTS = {
    "one-by-one": lambda: collected(list(torch.arange(COUNT).split(1))),
    "uneven": lambda: collected(list(torch.arange(COUNT).split([50, 0, 80, 7]))),
    "shuffled": lambda: collected(list(shuffled().split(13))),
    "three ranks": lambda: collected([torch.arange(rank, COUNT, 3) for rank in (2, 0, 1)]),
    "given whole": lambda: FeatureSet.of(batch(torch.arange(COUNT))[0], torch.arange(COUNT) % 4),
}


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_batches_order_and_shards_change_nothing(arrangement: str):
    one, other = whole(), ARRANGEMENTS[arrangement]()
    for name in ("features", "log_probs"):
        assert torch.equal(one.rows(name), other.rows(name))
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(one.index, other.index)
    for without in (None, 0, 7):
        a, b = one.moments("features", without), other.moments("features", without)
        assert a.count == b.count
        assert torch.equal(a.mean, b.mean)
        assert torch.equal(a.covariance, b.covariance)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_every_metric_is_the_same_for_any_arrangement(arrangement: str, metric):
    rows = 5 + torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    reference = FeatureSet.of(dict.fromkeys(NAMES, rows), torch.arange(200) % 4)
    one, other = metric(whole(), reference), metric(ARRANGEMENTS[arrangement](), reference)
    assert other == one  # to the last bit
    assert one.spread > 0
    assert len(one.groups) == GROUPS


def test_moments_are_mean_and_covariance_in_float64():
    rows = batch(torch.arange(COUNT))[0]["features"].double()
    moments = whole().moments("features")
    torch.testing.assert_close(moments.mean, rows.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.covariance, torch.cov(rows.mT), rtol=1e-11, atol=1e-12)


def test_moments_of_a_class_and_without_a_group():
    rows = batch(torch.arange(COUNT))[0]["features"].double()
    index = torch.arange(COUNT)
    one_class = whole().class_moments("features", 2)
    assert one_class.count == int((index % 4 == 2).sum())
    torch.testing.assert_close(one_class.covariance, torch.cov(rows[index % 4 == 2].mT))
    kept = rows[whole().group != 3]
    torch.testing.assert_close(whole().moments("features", 3).mean, kept.mean(0))


def test_half_precision_features_are_summed_in_float64():
    rows = (1000 + torch.arange(64)[:, None] % 2).to(torch.bfloat16).expand(64, 2)
    out = FeatureSet({"features"})
    out.add({"features": rows}, None, torch.arange(64))
    assert torch.equal(out.moments("features").mean, rows.double().mean(0))


@pytest.mark.parametrize("classes", [*range(1, 21), 37, 99, 100, 102, 120])
def test_groups_are_equal_and_cut_across_classes_generated_in_turn(classes: int):
    labels = torch.arange(2_000) % classes
    group = labelled(labels).group
    assert group.bincount().tolist() == [200] * GROUPS
    for label in range(classes):
        mine = group[labels == label].bincount(minlength=GROUPS)
        assert mine.max() - mine.min() <= 1


@pytest.mark.parametrize("classes", [3, 9, 10])
@pytest.mark.parametrize("known", [True, False])
def test_the_spread_of_what_classes_differ_in_is_its_error(classes: int, known: bool):
    """Of the mean of a number that is of the class but for noise; and of classes that nobody knows."""
    labels = torch.arange(1_000) % classes
    spreads = []
    for draw in range(100):
        value = 1.0 * labels + torch.randn(1_000, generator=torch.Generator().manual_seed(draw))
        group = labelled(labels if known else None, count=1_000).group
        spreads.append(jackknife_spread([float(value[group != g].mean()) for g in range(GROUPS)]))
    # Other images of known classes have other noise alone, those of unknown classes may have other classes.
    variance = 1.0 if known else 1.0 + float(labels.double().var())
    expected = math.sqrt(variance / 1_000)
    assert sum(spreads) / len(spreads) == pytest.approx(expected, rel=0.1 if known else 0.5)


def labelled(labels: Tensor | None, count: int = 0) -> FeatureSet:
    """A set of images of which nothing is known but their classes."""
    return FeatureSet.of({"features": torch.zeros(len(labels) if labels is not None else count, 1)}, labels)


def test_groups_of_any_number_are_equal():
    for labels in (None, torch.arange(366) % 7):
        sizes = labelled(labels, 366).group.bincount()
        assert sizes.max() - sizes.min() == 1


def test_an_image_is_not_counted_twice():
    out = collected([torch.arange(10)])
    with pytest.raises(UserError, match=r"2 of them would be counted twice \(index 8, 9\)"):
        out.add(*batch(torch.arange(8, 14)))
    with pytest.raises(UserError, match=r"index 12"):
        out.add(*batch(torch.tensor([12, 12])))
    assert len(out) == 10


def test_what_is_added_after_a_figure_was_read_counts():
    out = collected([torch.arange(60)])
    before = out.moments("features").mean
    out.add(*batch(torch.arange(60, COUNT)))
    assert not torch.equal(out.moments("features").mean, before)
    assert torch.equal(out.moments("features").mean, whole().moments("features").mean)
    assert torch.equal(out.rows("log_probs"), whole().rows("log_probs"))


def test_rows_that_are_given_whole_are_not_copied():
    rows = batch(torch.arange(COUNT))[0]
    given = FeatureSet.of(rows, None)
    assert given.rows("features") is rows["features"]
    assert not given.labelled


def test_sums_go_chunk_by_chunk(monkeypatch):
    rows = batch(torch.arange(COUNT))[0]["features"]
    at_once = Sums.of(rows)
    monkeypatch.setattr(moments, "CHUNK_BYTES", 8 * 6 * 10)
    chunked = Sums.of(rows)
    some = torch.arange(0, COUNT, 3)
    torch.testing.assert_close(Sums.of(rows, some).second, Sums.of(rows[some]).second, rtol=1e-13, atol=0)
    assert Sums.of(rows, some).count == len(some)
    torch.testing.assert_close(chunked.second, at_once.second, rtol=1e-13, atol=0)
    torch.testing.assert_close(chunked.first, at_once.first, rtol=1e-13, atol=0)


def test_only_what_is_needed_is_kept():
    out = FeatureSet({"features"})
    out.add(*batch(torch.arange(20)))
    with pytest.raises(KeyError):
        out.rows("log_probs")
    assert out.dimensions("features") == 6


def test_forgetting_labels_forgets_classes_only():
    bare = whole().unlabelled()
    assert not bare.labelled
    assert bare.classes == []
    assert torch.equal(bare.rows("features"), whole().rows("features"))
    assert torch.equal(bare.moments("features").mean, whole().moments("features").mean)
    assert whole().classes == [0, 1, 2, 3]
