from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from triptych.data import digits
from triptych.data.dataset import Dataset
from triptych.evaluation.judge import Judge
from triptych.evaluation.measure import figures, measure
from triptych.evaluation.reference import real_features, reference_features
from triptych.metrics.extractors import EXTRACTORS, Available
from triptych.metrics.features import FeatureSet
from triptych.work import Work


@dataclass
class Counted:
    """Stands in for a network: four mean intensities, scores that follow the first, images counted."""

    name: str = "classifier"
    sha256: str = "0" * 64
    images: int = field(default=0, compare=False)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        self.images += len(images)
        quarters = torch.nn.functional.avg_pool2d(images.float() / 255, 4).flatten(1)
        scores = -(quarters[:, :1] * 20 - torch.arange(10.0)).square()
        return {"features": quarters, "log_probs": scores.log_softmax(1)}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits.load()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setattr("triptych.evaluation.reference.KEPT_FROM", 1000)
    return tmp_path


def held_out(dataset: Dataset, extractor: Counted, count: int = 100) -> FeatureSet:
    images = dataset.held_out.take(torch.arange(count))
    return measure([(images.images, images.labels, torch.arange(count))], extractor, "cpu")


def test_kept_features_give_the_same_figures_bit_for_bit(dataset: Dataset, cache: Path):
    extractor = Counted()
    sets = [reference_features(dataset, extractor, "cpu") for _ in range(2)]
    assert extractor.images == len(dataset.train)
    straight = measure([(dataset.train.images, dataset.train.labels, torch.arange(1442))], extractor, "cpu")
    generated = held_out(dataset, extractor)
    first, second = (figures(generated, reference, generated) for reference in sets)
    assert first == second
    for one, other in zip(first, figures(generated, straight, generated), strict=True):
        assert one.estimate == pytest.approx(other.estimate, rel=1e-12)


def test_every_extractor_has_a_file_of_its_own(dataset: Dataset, cache: Path):
    for sha256 in ("1" * 64, "2" * 64):
        extractor = Counted(sha256=sha256)
        reference_features(dataset, extractor, "cpu")
        assert extractor.images == len(dataset.train)
    assert len(list(cache.iterdir())) == 2


def test_damaged_features_are_told_and_made_anew(dataset: Dataset, cache: Path):
    extractor = Counted()
    first = reference_features(dataset, extractor, "cpu")
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + b"\0\0\0\0")
    with pytest.warns(UserWarning, match="damaged"):
        again = reference_features(dataset, extractor, "cpu")
    assert torch.equal(again.moments("features").covariance, first.moments("features").covariance)
    assert file.read_bytes() == whole


def test_features_of_small_sets_are_not_kept(dataset: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("triptych.evaluation.reference.KEPT_FROM", 1443)
    reference_features(dataset, Counted(), "cpu")
    assert not list(cache.iterdir())


def test_work_on_real_images_tells_how_far_it_has_come(dataset: Dataset):
    seen: list[Work] = []
    reference_features(dataset, Counted(), "cpu", watch=seen.append)
    assert [(work.done, work.total) for work in seen] == [(n, 1442) for n in (0, 500, 1000, 1442)]
    assert {work.what for work in seen} == {"measuring digits/train"}


def test_a_judge_measures_real_images_once_for_rows_of_like_classes(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    extractor = Counted()
    available = Available(lambda train, device, *, watch: extractor, lambda train: {"features": 4})
    monkeypatch.setitem(EXTRACTORS, "classifier", available)
    judge = Judge(dataset, torch.device("cpu"))
    hundred, fifty = held_out(dataset, extractor), held_out(dataset, extractor, 50)
    extractor.images = 0
    assert judge.real(hundred) is judge.real(hundred)
    assert extractor.images == 100
    bare = judge.real(hundred.unlabelled())
    assert len(judge.real(fifty)) == 50
    assert extractor.images == 250
    assert torch.equal(judge.real(hundred).index, real_features(dataset, hundred, extractor, "cpu").index)
    assert not torch.equal(bare.index, judge.real(hundred).index)
