from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from triptych.data import digits
from triptych.data.dataset import Dataset, ImageSet
from triptych.errors import UserError
from triptych.metrics.extractors import EXTRACTORS
from triptych.metrics.extractors.classifier import Classifier
from triptych.metrics.extractors.classifier_cache import cached_classifier
from triptych.metrics.extractors.classifier_recipe import LARGE_IMAGES, ClassifierRecipe, recipe_for
from triptych.metrics.extractors.classifier_training import train_classifier
from triptych.work import Work

QUICK = ClassifierRecipe(width=16, features=8, least_images=640, least_epochs=0)
QUICK_LARGE = replace(LARGE_IMAGES, width=16, features=8, batch_size=8, least_images=24, least_epochs=0)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits.load()


@pytest.fixture(scope="module")
def trained(dataset: Dataset) -> Classifier:
    return train_classifier(dataset.train.images, dataset.train.labels, 10)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    return tmp_path


def random_images(count: int, channels: int, side: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    return images, torch.arange(count) % 3


def test_it_reads_held_out_digits(dataset: Dataset, trained: Classifier):
    out = trained(dataset.held_out.images)
    right = out["log_probs"].argmax(1) == dataset.held_out.labels
    assert float(right.double().mean()) >= 0.97


def test_features_are_in_units_of_training_standard_deviations(dataset: Dataset, trained: Classifier):
    features = trained(dataset.train.images)["features"].double()
    torch.testing.assert_close(features.mean(0), torch.zeros(64).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(features.std(0, correction=0), torch.ones(64).double(), rtol=1e-5, atol=0)


def test_log_probabilities_sum_to_one(dataset: Dataset, trained: Classifier):
    log_probs = trained(dataset.held_out.images)["log_probs"]
    assert log_probs.shape == (len(dataset.held_out), 10)
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(len(log_probs)))


@pytest.mark.parametrize("size", [1, 7, 355])
def test_an_image_has_the_same_features_in_any_batch(dataset: Dataset, trained: Classifier, size: int):
    images = dataset.held_out.images
    whole = trained(images)["features"]
    parts = torch.cat([trained(part)["features"] for part in images.split(size)])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)


def test_features_escape_a_callers_autocast(dataset: Dataset, trained: Classifier):
    images = dataset.held_out.images[:20]
    with torch.autocast("cpu", torch.bfloat16):
        inside = trained(images)["features"]
    assert torch.equal(inside, trained(images)["features"])


def test_training_twice_gives_the_same_bits_whatever_the_threads_and_global_seed(dataset: Dataset):
    digests, before = set(), torch.get_num_threads()
    for threads, seed in ((1, 0), (2, 123)):
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        digests.add(train_classifier(dataset.train.images, dataset.train.labels, 10, QUICK).sha256)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    other = train_classifier(dataset.train.images, dataset.train.labels, 10, replace(QUICK, seed=1))
    assert len(digests) == 1
    assert other.sha256 not in digests


def test_the_cache_gives_back_the_same_network(dataset: Dataset, cache: Path):
    first = cached_classifier(dataset.train, recipe=QUICK)
    (file,) = cache.iterdir()
    written = file.stat().st_mtime_ns
    second = cached_classifier(dataset.train, recipe=QUICK)
    assert file.stat().st_mtime_ns == written
    assert second.sha256 == first.sha256
    images = dataset.held_out.images
    assert torch.equal(first(images)["features"], second(images)["features"])


def test_other_images_or_recipes_have_files_of_their_own(dataset: Dataset, cache: Path):
    fewer = dataset.train.take(torch.arange(200))
    for train, recipe in ((dataset.train, QUICK), (fewer, QUICK), (fewer, replace(QUICK, seed=1))):
        cached_classifier(train, recipe=recipe)
    assert len(list(cache.iterdir())) == 3


def test_a_damaged_cache_is_told_and_replaced(dataset: Dataset, cache: Path):
    first = cached_classifier(dataset.train, recipe=QUICK)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + b"\0\0\0\0")
    with pytest.warns(UserWarning, match="damaged"):
        again = cached_classifier(dataset.train, recipe=QUICK)
    assert again.sha256 == first.sha256
    assert file.read_bytes() == whole


@pytest.mark.parametrize(("channels", "side"), [(3, 64), (3, 32), (1, 28), (3, 17), (3, 9), (2, 4)])
def test_images_of_other_sizes_and_channels(channels: int, side: int):
    images, labels = random_images(24, channels, side)
    small = replace(QUICK, batch_size=8, least_images=24)
    classifier = train_classifier(images, labels, 3, QUICK_LARGE if side > 16 else small)
    out = classifier(images)
    assert out["features"].shape == (24, 8)
    assert out["log_probs"].shape == (24, 3)
    assert all(bool(value.isfinite().all()) for value in out.values())


def test_large_images_are_learned_and_judged_one_by_one():
    labels = torch.arange(120) % 3
    noise, _ = random_images(120, 3, 32)
    images = noise // 2
    images[torch.arange(120), labels] += 100  # a class is a tint
    recipe = replace(QUICK_LARGE, least_images=320)
    classifier = train_classifier(images[:60], labels[:60], 3, recipe)
    held_out = images[60:]
    out = classifier(held_out)
    assert torch.equal(out["log_probs"].argmax(1), labels[60:])
    parts = torch.cat([classifier(part)["features"] for part in held_out.split(1)])
    torch.testing.assert_close(parts, out["features"], rtol=1e-4, atol=1e-4)
    again = train_classifier(images[:60], labels[:60], 3, recipe)
    assert again.sha256 == classifier.sha256


def test_the_cache_gives_back_a_classifier_of_large_images(cache: Path):
    images, labels = random_images(24, 3, 32)
    train = ImageSet("noise", images, labels, ("cat", "dog", "frog"))
    first = cached_classifier(train, recipe=QUICK_LARGE)
    second = cached_classifier(train, recipe=QUICK_LARGE)
    assert len(list(cache.iterdir())) == 1
    assert second.sha256 == first.sha256
    for name, values in first(images).items():
        assert torch.equal(second(images)[name], values)


def test_training_tells_how_far_it_has_come():
    images, labels = random_images(24, 1, 8)
    seen: list[Work] = []
    train_classifier(images, labels, 3, QUICK, watch=seen.append)
    assert [work.done for work in seen] == [*range(0, 640, 640), 640]
    assert {work.total for work in seen} == {640}


def test_without_two_classes_there_is_nothing_to_learn(cache: Path):
    images, labels = random_images(3, 1, 8)
    with pytest.raises(UserError, match="they have 1 class;"):
        cached_classifier(ImageSet("one", images, labels * 0, ("all",)))


def test_small_changes_of_the_image_move_it_less_than_another_class(dataset: Dataset, trained: Classifier):
    images = dataset.held_out.images[dataset.held_out.labels == 3]
    others = dataset.held_out.images[dataset.held_out.labels == 8][: len(images)]
    here = trained(images)["features"].mean(0)
    dimmer = trained((images.float() * 0.95).to(torch.uint8))["features"].mean(0)
    assert (dimmer - here).norm() < 0.2 * (trained(others)["features"].mean(0) - here).norm()


def test_images_of_another_size_are_refused(trained: Classifier):
    with pytest.raises(UserError, match=r"shape \(3, 32, 32\).*trained on shape \(1, 8, 8\)"):
        trained(random_images(2, 3, 32)[0])


def test_no_images_have_no_features(trained: Classifier):
    assert trained(torch.zeros(0, 1, 8, 8, dtype=torch.uint8))["features"].shape == (0, 64)


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 32)])
def test_how_wide_its_outputs_will_be_is_known_before_it_is_trained(channels: int, side: int):
    images, labels = random_images(6, channels, side)
    train = ImageSet("noise/train", images, labels, ("a", "b", "c"))
    untrained = Classifier(*images.shape[1:], 3, recipe_for(images.shape[1:])).finish()
    widths = {name: rows.shape[1] for name, rows in untrained(images).items()}
    assert EXTRACTORS["classifier"].widths(train) == widths


def test_it_says_what_it_is(trained: Classifier):
    assert EXTRACTORS[trained.name].make is cached_classifier
    assert len(trained.sha256) == 64
