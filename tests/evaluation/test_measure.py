import pytest
import torch
from evaluation.stand_in import WIDTHS, Counted

from triptych.data import digits
from triptych.data.dataset import Dataset
from triptych.errors import UserError
from triptych.evaluation.measure import Batch, figures, measure, metrics_for, truths_of
from triptych.evaluation.reference import matching, real_features
from triptych.jackknife import jackknife_spread
from triptych.metrics import METRICS, named_metrics
from triptych.metrics.features import FeatureSet
from triptych.record.events import Figure

MINE = metrics_for(Counted.name)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits.load()


@pytest.fixture(scope="module")
def reference(dataset: Dataset) -> FeatureSet:
    return real_features(dataset.train, torch.arange(len(dataset.train)), Counted(), WIDTHS, "cpu")


def beside(dataset: Dataset, generated: FeatureSet) -> FeatureSet:
    """Held-out images that match."""
    wanted = generated.labels if generated.labelled else None
    index = matching(dataset.held_out.labels, wanted, len(generated))
    return real_features(dataset.held_out, index, Counted(), WIDTHS, "cpu")


def compared(
    generated: FeatureSet, reference: FeatureSet, real: FeatureSet, *, force: bool = False
) -> tuple[Figure, ...]:
    """The figures of both, real images with as many labels as generated ones."""
    real = real if generated.labelled else real.unlabelled()
    truths = truths_of(real, reference, MINE, force=force)
    return figures(generated, reference, truths, MINE, force=force)


def drawn(dataset: Dataset, count: int, labelled: bool = True, size: int = 32) -> list[Batch]:
    """Noisy training images in the place of generated ones, classes in turn."""
    index = torch.arange(count)
    places = [(dataset.train.labels == label).nonzero().squeeze(1) for label in range(10)]
    chosen = torch.stack([places[i % 10][i // 10] for i in range(count)])
    noise = torch.randint(0, 40, (count, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    pixels = (dataset.train.images[chosen].int() + noise).clamp(max=255).to(torch.uint8)
    return [(pixels[i], (i % 10) if labelled else None, i) for i in index.split(size)]


def test_one_figure_for_each_metric_with_the_real_one_beside_it(dataset: Dataset, reference: FeatureSet):
    generated = measure(drawn(dataset, 200), Counted(), "cpu", WIDTHS)
    real = beside(dataset, generated)
    found = compared(generated, reference, real)
    assert [figure.metric for figure in found] == list(MINE)
    for figure in found:
        assert figure.spread > 0
        assert jackknife_spread(figure.groups) == figure.spread
        assert (figure.n, figure.real_n) == (200, 200)
        assert figure.real_spread == METRICS[figure.metric](real, reference).spread > 0
        # Of density and the like there is none: balls of one class alone would be others.
        if figure.per_class is not None:
            assert len(figure.per_class) == len(figure.real_per_class) == len(figure.per_class_n) == 10
        assert figure.estimate == METRICS[figure.metric](generated, reference).estimate
        assert figure.real == METRICS[figure.metric](real, reference).estimate
    distance = found[0]
    assert distance.estimate > distance.real


@pytest.mark.parametrize("size", [1, 200])
def test_the_batch_size_changes_no_figure(dataset: Dataset, reference: FeatureSet, size: int):
    one = measure(drawn(dataset, 200), Counted(), "cpu", WIDTHS)
    other = measure(drawn(dataset, 200, size=size), Counted(), "cpu", WIDTHS)
    real = beside(dataset, one)
    for a, b in zip(compared(one, reference, real), compared(other, reference, real), strict=True):
        assert b.estimate == pytest.approx(a.estimate, rel=1e-9)
        assert b.real == a.real


def test_images_without_labels_have_only_the_figures_that_need_none(dataset: Dataset, reference: FeatureSet):
    generated = measure(drawn(dataset, 100, labelled=False), Counted(), "cpu", WIDTHS)
    real = beside(dataset, generated)
    found = {figure.metric: figure for figure in compared(generated, reference, real)}
    assert set(found) == {name for name, metric in MINE.items() if not metric.labelled}
    assert all(figure.per_class is None and figure.real_per_class is None for figure in found.values())
    across = METRICS["diversity_classifier_all"](real, reference).estimate
    assert found["diversity_classifier_all"].real == across


def test_too_few_images_are_refused_unless_forced(dataset: Dataset, reference: FeatureSet):
    generated = measure(drawn(dataset, 4, labelled=False), Counted(), "cpu", WIDTHS)
    real = beside(dataset, generated)
    with pytest.raises(UserError, match="fd_classifier of 4 images: it takes at least 5"):
        compared(generated, reference, real)
    assert len(compared(generated, reference, real, force=True)) > 1


def test_too_few_real_images_leave_the_real_figure_out(dataset: Dataset, reference: FeatureSet):
    generated = measure(drawn(dataset, 100), Counted(), "cpu", WIDTHS)
    real = measure(
        [(dataset.held_out.images[:3], dataset.held_out.labels[:3], torch.arange(3))],
        Counted(),
        "cpu",
        WIDTHS,
    )
    distance = compared(generated, reference, real)[0]
    assert distance.real is None
    assert (distance.real_n, distance.real_spread) == (None, None)


def test_metrics_of_other_extractors_are_not_measured():
    assert metrics_for("another") == {}
    assert all(METRICS[name].extractor == "classifier" for name in MINE)


def test_metrics_are_named_one_by_one_or_by_their_extractor():
    assert list(named_metrics(["classifier_accuracy", "fd_classifier"])) == [
        "classifier_accuracy",
        "fd_classifier",
    ]
    assert named_metrics(["classifier"]) == MINE
    assert list(named_metrics(["fid", "classifier", "fd_classifier"])) == ["fid", *MINE]
    with pytest.raises(UserError, match="measure fidd: there is no such metric; perhaps you meant fid"):
        named_metrics(["fid", "fidd"])
    with pytest.raises(UserError, match="no metric is named"):
        named_metrics([])


def test_reference_is_the_whole_training_split(dataset: Dataset, reference: FeatureSet):
    assert len(reference) == len(dataset.train)
    expected = Counted()(dataset.train.images)["features"].double().mean(0)
    torch.testing.assert_close(reference.moments("features").mean, expected)


def test_real_images_have_the_classes_of_the_generated_ones(dataset: Dataset):
    threes_and_eights = torch.tensor([3] * 20 + [8] * 7)
    index = matching(dataset.held_out.labels, threes_and_eights, 27)
    assert len(set(index.tolist())) == 27
    assert dataset.held_out.labels[index].bincount(minlength=10).tolist() == [0, 0, 0, 20, 0, 0, 0, 0, 7, 0]


def test_more_images_than_are_held_out_take_all_there_are(dataset: Dataset):
    generated = measure(drawn(dataset, 1000), Counted(), "cpu", WIDTHS)
    assert len(beside(dataset, generated)) == len(dataset.held_out) == 355
    assert matching(dataset.held_out.labels, None, 9999).tolist() == list(range(355))


def test_unlabelled_images_take_their_number_evenly_spread():
    assert matching(torch.zeros(100, dtype=torch.int64), None, 4).tolist() == [0, 25, 50, 75]
