from pathlib import Path

import pytest
import torch
from evaluation.stand_in import WIDTHS, Counted

from triptych.data import digits
from triptych.data.dataset import Dataset, ImageSet
from triptych.evaluation.measure import figures, measure, metrics_for, truths_of
from triptych.evaluation.reference import matching, real_features
from triptych.evaluation.yardstick import Yardstick
from triptych.metrics import METRICS, named_metrics
from triptych.metrics.extractors import EXTRACTORS
from triptych.metrics.features import FeatureSet
from triptych.record.events import Figure
from triptych.work import Work

MINE = metrics_for(Counted.name)
EVERY = torch.arange(1442)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits.load()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setattr("triptych.evaluation.reference.KEPT_FROM", 1000)
    return tmp_path


def some(images: ImageSet, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and labels of some images."""
    return images.images[index], images.labels[index]


def compared(generated: FeatureSet, kept: FeatureSet) -> tuple[Figure, ...]:
    """All figures of one set against another, and those of the same beside."""
    return figures(generated, kept, truths_of(generated, kept, MINE), MINE)


def reference(dataset: Dataset, extractor: Counted, **options) -> FeatureSet:
    return real_features(dataset.train, EVERY, extractor, WIDTHS, "cpu", **options)


def held_out(dataset: Dataset, extractor: Counted, count: int = 100) -> FeatureSet:
    return real_features(dataset.held_out, torch.arange(count), extractor, WIDTHS, "cpu")


def test_kept_features_give_the_same_figures_bit_for_bit(dataset: Dataset, cache: Path):
    extractor = Counted()
    sets = [reference(dataset, extractor) for _ in range(2)]
    assert extractor.images == len(dataset.train)
    straight = measure([(dataset.train.images, dataset.train.labels, EVERY)], extractor, "cpu", WIDTHS)
    generated = held_out(dataset, extractor)
    first, second = (compared(generated, kept) for kept in sets)
    assert first == second
    for one, other in zip(first, compared(generated, straight), strict=True):
        assert one.estimate == pytest.approx(other.estimate, rel=1e-12)


def test_every_extractor_and_choice_of_images_has_a_store_of_its_own(dataset: Dataset, cache: Path):
    for sha256 in ("1" * 64, "2" * 64):
        extractor = Counted(sha256=sha256)
        reference(dataset, extractor)
        assert extractor.images == len(dataset.train)
    some = real_features(dataset.train, EVERY[::1][:1200], extractor, WIDTHS, "cpu")
    assert len(some) == 1200
    assert len(list(cache.iterdir())) == 3


def test_some_images_are_known_by_their_numbers_in_the_split(dataset: Dataset, cache: Path):
    odd = EVERY[1:1401]
    kept = real_features(dataset.train, odd, Counted(), WIDTHS, "cpu")
    few = real_features(dataset.train, EVERY[1:501:2], Counted(), WIDTHS, "cpu")
    assert torch.equal(kept.index, odd)
    assert torch.equal(kept.labels, dataset.train.labels[odd])
    assert torch.equal(kept.rows("features")[::2][: len(few)], few.rows("features"))


def test_what_was_cut_off_goes_on(dataset: Dataset, cache: Path):
    class Dies(Counted):
        def __call__(self, images):
            if self.images >= 1000:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        reference(dataset, Dies())
    extractor = Counted()
    after = reference(dataset, extractor)
    assert extractor.images == 442
    straight = measure([(dataset.train.images, dataset.train.labels, EVERY)], extractor, "cpu", WIDTHS)
    assert torch.equal(after.rows("features"), straight.rows("features"))


def test_damaged_features_are_told_and_made_anew(dataset: Dataset, cache: Path):
    extractor = Counted()
    first = reference(dataset, extractor)
    covariance = first.moments("features").covariance
    (folder,) = cache.iterdir()
    file = folder / "features.f32"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + b"\0\0\0\0")
    extractor.images = 0
    with pytest.warns(UserWarning, match="1 of its batches are not as they were written: measuring them"):
        again = reference(dataset, extractor)
    assert extractor.images == 442  # of the last batch alone
    assert torch.equal(again.moments("features").covariance, covariance)
    assert file.read_bytes() == whole


def test_features_of_few_images_are_not_kept(dataset: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("triptych.evaluation.reference.KEPT_FROM", 1443)
    reference(dataset, Counted())
    assert not list(cache.iterdir())


@pytest.mark.parametrize("kept", [True, False])
def test_work_on_real_images_tells_how_far_it_has_come(dataset: Dataset, cache: Path, monkeypatch, kept):
    if not kept:
        monkeypatch.setattr("triptych.evaluation.reference.KEPT_FROM", 1443)
    seen: list[Work] = []
    reference(dataset, Counted(), watch=seen.append)
    assert [(work.done, work.total) for work in seen] == [(n, 1442) for n in (0, 500, 1000, 1442)]
    assert {work.what for work in seen} == {"measuring digits/train"}


def test_a_yardstick_measures_real_images_once_for_rows_of_like_classes(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    extractor = Counted()
    monkeypatch.setitem(EXTRACTORS, "classifier", extractor.available)
    metrics = named_metrics(["fd_classifier", "classifier_accuracy"])
    yardstick = Yardstick(dataset.train, dataset.held_out, metrics, torch.device("cpu"))
    labels = dataset.held_out.labels[:100]
    truths = yardstick.truths(labels, 100)
    assert extractor.images == len(dataset.train) + 100
    assert yardstick.truths(labels.flip(0), 100) is truths  # as many of each class
    assert extractor.images == len(dataset.train) + 100
    assert yardstick.seconds(labels, 100) > 0
    bare = yardstick.truths(None, 100)
    assert list(bare) == ["fd_classifier"]
    assert yardstick.truths(labels[:50], 50)["fd_classifier"].n == 50
    assert extractor.images == len(dataset.train) + 250
    index = matching(dataset.held_out.labels, labels, 100)
    real = measure([(*some(dataset.held_out, index), index)], extractor, "cpu", WIDTHS)
    reference = measure([(*some(dataset.train, EVERY), EVERY)], extractor, "cpu", WIDTHS)
    assert truths == truths_of(real, reference, metrics)


def test_nothing_is_measured_of_a_reference_that_no_metric_compares_with(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    extractor = Counted()
    monkeypatch.setitem(EXTRACTORS, "classifier", extractor.available)
    metrics = named_metrics(["diversity_classifier", "classifier_accuracy"])
    yardstick = Yardstick(dataset.train, dataset.held_out, metrics, torch.device("cpu"))
    truths = yardstick.truths(dataset.held_out.labels, len(dataset.held_out))
    assert extractor.images == len(dataset.held_out)
    assert len(truths["diversity_classifier"].per_class) == 10


def test_either_split_may_be_the_reference(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    """As in figures against the test images, with as many training images beside.

    What is memorised is looked for in the training split all the same.
    """
    extractor = Counted()
    monkeypatch.setitem(EXTRACTORS, "classifier", extractor.available)
    metrics = named_metrics(["fd_classifier", "classifier_accuracy", "nearest_classifier"])
    sides = dataset.train, dataset.held_out, metrics, torch.device("cpu")
    usual, turned = Yardstick(*sides), Yardstick(*sides, reference="held-out")
    assert (turned.reference, turned.beside) == (dataset.held_out, dataset.train)
    first, second = (yardstick.truths(None, 300) for yardstick in (usual, turned))
    assert first["nearest_classifier"] == second["nearest_classifier"]
    train, held_out = (
        measure([(images.images, images.labels, torch.arange(len(images)))], extractor, "cpu", WIDTHS)
        for images in (dataset.train, dataset.held_out)
    )
    index = matching(dataset.train.labels, None, 300)
    some_train = FeatureSet.of({"features": train.rows("features")[index]}, None, extractor.sha256, index)
    expected = METRICS["fd_classifier"](some_train, held_out).estimate
    assert second["fd_classifier"].estimate == pytest.approx(expected, rel=1e-12)
    assert first["fd_classifier"].estimate != second["fd_classifier"].estimate
    # Images that the classifier learned from would say nothing of how often it is right.
    labels = dataset.held_out.labels
    right = turned.truths(labels, len(labels))["classifier_accuracy"]
    assert right == usual.truths(labels, len(labels))["classifier_accuracy"]
    assert right.n == len(dataset.held_out)


def test_truths_that_were_interrupted_are_measured_again(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    class Dies(Counted):
        def __call__(self, images):
            if not self.images:
                self.images = 1
                raise KeyboardInterrupt
            return super().__call__(images)

    monkeypatch.setitem(EXTRACTORS, "classifier", Dies().available)
    yardstick = Yardstick(dataset.train, dataset.held_out, MINE, torch.device("cpu"))
    with pytest.raises(KeyboardInterrupt):
        yardstick.truths(None, 100)
    assert yardstick.truths(None, 100)["fd_classifier"] is not None
