"""What a judge is asked before any image is drawn."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from backbones.small import SHALLOW

from triptych.data import digits
from triptych.data.dataset import Dataset, ImageSet
from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.distributed import Ranks
from triptych.errors import UserError
from triptych.evaluation.judge import Judge, balanced_count
from triptych.evaluation.selection import comparable
from triptych.generation import Request
from triptych.metrics.extractors import EXTRACTORS, Available
from triptych.record.events import Evaluated
from triptych.sampling import named_sampler


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits.load()


@pytest.fixture(scope="module")
def held_out(dataset: Dataset) -> ImageSet:
    return dataset.held_out


def denoiser() -> Denoiser:
    """Return what no image is drawn from."""
    return Denoiser(SHALLOW["dit"].build(1, 8, 0), SCHEDULES["cosine"](), PREDICTIONS["v"])


def without(images: ImageSet, *labels: int) -> ImageSet:
    """Return the images of all other classes."""
    return images.take((~torch.isin(images.labels, torch.tensor(labels))).nonzero().flatten())


def test_a_passport_names_the_real_images_on_both_sides(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    extractor = SimpleNamespace(name="classifier", sha256="e" * 64)
    monkeypatch.setitem(EXTRACTORS, "classifier", Available(lambda *_, **__: extractor, lambda train: {}))
    passports = []
    for held_out in (dataset.held_out, without(dataset.held_out, 3)):
        judge = Judge(replace(dataset, held_out=held_out), torch.device("cpu"))
        request = Request(count=10, guidance=0.0, sampler=named_sampler("ddim:2"))
        passports.append(judge.passport(denoiser(), request, "epoch-00001", 1.0, "ema"))
    assert {passport.beside for passport in passports} == {"digits/held-out"}
    assert {passport.reference_digest for passport in passports} == {dataset.train.digest}
    assert passports[0].held_out_digest == dataset.held_out.digest
    rows = [Evaluated(passport, (), 5, 2, 1.0, 1.0) for passport in passports]
    assert comparable(rows[0], "fd_classifier") != comparable(rows[1], "fd_classifier")


def test_a_passport_names_what_computed_a_scan_unless_it_is_the_plain_one(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    extractor = SimpleNamespace(name="classifier", sha256="e" * 64)
    monkeypatch.setitem(EXTRACTORS, "classifier", Available(lambda *_, **__: extractor, lambda train: {}))
    judge, drawn = Judge(dataset, torch.device("cpu")), denoiser()
    request = Request(count=10, guidance=0.0, sampler=named_sampler("ddim:2"))
    for name in ("mamba-ssm 2.3.2", "triptych"):
        monkeypatch.setattr(drawn.backbone, "computed_by", lambda *_, name=name: {"scan": name})
        versions = judge.passport(drawn, request, "a", 1.0, "ema").versions
        assert versions.get("scan") == (None if name == "triptych" else name)


class Unlike(Ranks):
    """One of two ranks, of which the first has another extractor."""

    def in_turn(self):
        return nullcontext()

    def agree(self, value):
        return value[::-1]

    def sum(self, tensor):
        return tensor


def test_ranks_with_unlike_extractors_measure_nothing(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    extractor = SimpleNamespace(name="classifier", sha256="ab" * 32)
    monkeypatch.setitem(EXTRACTORS, "classifier", Available(lambda *_, **__: extractor, lambda train: {}))
    judge = Judge(dataset, torch.device("cpu"), ranks=Unlike(1, 2))
    request = Request(count=10, guidance=0.0, sampler=named_sampler("ddim:2"))
    with pytest.raises(UserError, match="1 of 2 processes have another classifier than the first"):
        judge.passport(denoiser(), request, "a", 1.0, "ema")


def test_as_many_of_each_class_as_the_rarest_has(held_out: ImageSet):
    rarest = min((held_out.labels == label).sum().item() for label in range(10))
    assert balanced_count(held_out, 10) == 10 * rarest
    assert balanced_count(held_out, 0) == len(held_out)


def test_classes_without_real_images_are_named(held_out: ImageSet):
    with pytest.raises(UserError, match=r"of class '3'; .*--count"):
        balanced_count(without(held_out, 3), 10)
    with pytest.raises(UserError, match=r"of class '3', '4', '5', \.\.\.; say how many"):
        balanced_count(without(held_out, 3, 4, 5, 9), 10)  # the last class too, whose label does not occur
    assert balanced_count(without(held_out, 3), 0) == len(without(held_out, 3))
