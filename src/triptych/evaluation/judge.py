"""From a model and a request to one row of an evaluation table."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import Tensor

from triptych.data.dataset import Dataset, ImageSet
from triptych.denoiser import Denoiser
from triptych.distributed import ALONE, Ranks
from triptych.errors import UserError
from triptych.evaluation.drawing import SEPARATOR, draw_features
from triptych.evaluation.measure import figures, metrics_for
from triptych.evaluation.reference import matching, real_features
from triptych.generation import Generated, Request
from triptych.metrics.extractors import EXTRACTORS
from triptych.metrics.extractors.extractor import Extractor
from triptych.metrics.feature_store import FeatureStore
from triptych.metrics.features import FeatureSet
from triptych.record.environment import describe_device, versions
from triptych.record.events import Evaluated, Passport
from triptych.work import Watch, unwatched

Reference = Literal["train", "held-out"]


class Judge:
    """Measures models against one data set by some extractors; what is real is measured once.

    To make one costs nothing, and to ask it whether a request can be measured costs no more: the extractors,
    which may have to be fetched or trained, are got ready for the first passport or the first row.

    Args:
        dataset: one of its splits is the reference, the other gives the real images beside every figure.
        device: where to compute features.
        extractors: their names.
        reference: name of the split that is the reference: `train` or `held-out`.
        force: measure even fewer images than a metric takes.
        watch: sees how far the work on real images has come: that of an extractor's training, and features.
        ranks: who draws which of the images. Each has a judge of its own, and asks it for the same passports
            and rows; what is real is measured by the first.
    """

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device,
        extractors: Sequence[str] = ("classifier",),
        *,
        reference: Reference = "train",
        force: bool = False,
        watch: Watch = unwatched,
        ranks: Ranks = ALONE,
    ):
        self.dataset = dataset
        self.device = device
        self.available = {name: EXTRACTORS[name] for name in dict.fromkeys(extractors)}
        self.metrics = {name: metrics_for(name) for name in self.available}
        splits = dataset.train, dataset.held_out
        self.reference_split, self.beside_split = splits if reference == "train" else splits[::-1]
        self.force = force
        self.watch = watch
        self.ranks = ranks
        self._reference: dict[str, FeatureSet] = {}
        self._real: dict[tuple, FeatureSet] = {}

    @cached_property
    def extractors(self) -> dict[str, Extractor]:
        """The networks that features come from; UserError where ranks have unlike ones."""
        made: dict[str, Extractor] = {}
        for name, available in self.available.items():
            with self.ranks.in_turn():  # what the first one fetches or trains, the others find in the cache
                made[name] = available.make(self.dataset.train, self.device, watch=self.watch)
            digest = made[name].sha256
            unlike = torch.tensor(float(self.ranks.agree(digest) != digest))
            if self.ranks.sum(unlike) > 0:
                found = f"{int(unlike)} of {self.ranks.size} processes have another {name} than the first"
                remedy = "give all of them one cache: set TRIPTYCH_CACHE to a folder that they share"
                raise UserError(f"measure images of {self.dataset.train.name}", found, remedy)
        return made

    def widths(self, extractor: str) -> Mapping[str, int]:
        """Return the numbers in each output of an extractor, by name."""
        return self.available[extractor].widths(self.dataset.train)

    def reference(self, extractor: str) -> FeatureSet:
        """Return the features of the whole reference split."""
        if extractor not in self._reference:
            every = torch.arange(len(self.reference_split))
            self._reference[extractor] = self._features(extractor, self.reference_split, every)
        return self._reference[extractor]

    def real(self, extractor: str, generated: FeatureSet) -> FeatureSet:
        """Return those of real images that match `generated`, measured once for rows of like classes.

        They are of the split that is not the reference. Fewer are there where it has fewer.
        """
        wanted = generated.labels if generated.labelled else None
        key = extractor, *generated.labels.sort().values.tolist()
        if key not in self._real:
            index = matching(self.beside_split.labels.cpu(), wanted, len(generated))
            self._real[key] = self._features(extractor, self.beside_split, index)
        return self._real[key]

    def _features(self, extractor: str, images: ImageSet, index: Tensor) -> FeatureSet:
        made, widths = self.extractors[extractor], self.widths(extractor)
        metrics = self.metrics[extractor]
        return real_features(images, index, made, widths, self.device, metrics, self.watch)

    def passport(
        self, request: Request, checkpoint: str, epoch: float, weights: str, precision: str = "float32"
    ) -> Passport:
        """Return what identifies the figures of a request to a checkpoint."""
        return Passport(
            checkpoint=checkpoint,
            epoch=epoch,
            weights=weights,
            sampler=request.sampler.label,
            guidance=request.guidance,
            clip=request.sampler.clip,
            seed=request.seed,
            count=request.count,
            reference=self.reference_split.name,
            reference_digest=self.reference_split.digest,
            reference_count=len(self.reference_split),
            versions=versions(),
            device=describe_device(self.device, self.ranks.size),
            precision=precision,
            held_out_digest=self.beside_split.digest,
            beside=self.beside_split.name,
            extractors={name: extractor.sha256 for name, extractor in self.extractors.items()},
        )

    def check(self, denoiser: Denoiser, request: Request) -> None:
        """Raise `UserError` where the model cannot answer `request`, or it asks for too few images."""
        classes = denoiser.backbone.classes
        request.check(classes)
        request.sampler.levels(denoiser.schedule)  # refuses a grid finer than the schedule
        shown = len(request.classes or range(classes)) if shows_classes(request, classes) else 0
        for name, metrics in self.metrics.items():
            widths = self.widths(name)
            for metric in metrics.values():
                if shown or not metric.labelled:
                    metric.check_count(request.count, widths.__getitem__, shown, force=self.force)

    def row(
        self,
        denoiser: Denoiser,
        request: Request,
        passport: Passport,
        folder: Path | None = None,
        watch: Callable[[Generated], None] = lambda batch: None,
    ) -> Evaluated:
        """Generate the images of `request` and measure them; of several ranks all get the same row.

        Its times are those of the whole, whatever it was cut off by.

        Args:
            denoiser: the model.
            request: which images of it.
            passport: what `passport` says of them.
            folder: where their features are kept until the row is there, so that a call after a kill goes
                on; None: in a temporary place.
            watch: sees each batch of this rank.

        Raises:
            UserError: the model cannot answer the request, or it asks for too few images.
        """
        self.check(denoiser, request)
        with TemporaryDirectory(prefix="triptych-") as temporary:
            store = self.store(request, passport, folder or Path(temporary))
            draw_features(denoiser, request, self.extractors, store, self.ranks, watch)
            return self.ranks.lead(lambda: self._measured(denoiser, request, passport, store))

    def store(self, request: Request, passport: Passport, folder: Path) -> FeatureStore:
        """Return where in `folder` the features of a row are kept until it is recorded."""
        widths = {
            f"{name}{SEPARATOR}{output}": width
            for name in self.available
            for output, width in self.widths(name).items()
        }
        key = row_key(passport)
        return FeatureStore(folder / key[:20], widths, request.count, request.batch_size, key)

    def _measured(
        self, denoiser: Denoiser, request: Request, passport: Passport, store: FeatureStore
    ) -> Evaluated:
        """Return the row of images whose features are all there."""
        start = time.perf_counter()
        classes = denoiser.backbone.classes
        labels = None
        if shows_classes(request, classes):
            labels = request.labels(torch.arange(request.count), classes)
        rows, measured = store.rows(), []
        for name, extractor in self.extractors.items():
            mine = {key: rows[f"{name}{SEPARATOR}{key}"] for key in self.widths(name)}
            generated = FeatureSet.of(mine, labels, extractor.sha256)
            real = self.real(name, generated)
            reference = self.reference(name)
            measured += figures(generated, reference, real, self.metrics[name], force=self.force)
        spent = store.spent.values()
        return Evaluated(
            passport=passport,
            figures=tuple(measured),
            batch_size=request.batch_size,
            network_calls=max(batch.calls for batch in spent),
            generation_took=sum(batch.drawing for batch in spent),
            measuring_took=sum(batch.measuring for batch in spent) + time.perf_counter() - start,
        )


def row_key(passport: Passport) -> str:
    """Return a hash, hexadecimal, of all that makes the features of a row what they are."""
    identity = {k: v for k, v in asdict(passport).items() if k not in ("versions", "device")}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def shows_classes(request: Request, classes: int) -> bool:
    """Whether the images of `request`, to a model of `classes` classes, are asked to show one each.

    Without guidance towards a class they are asked to show none.
    """
    return classes > 0 and request.guidance > 0


def balanced_count(held_out: ImageSet, classes: int) -> int:
    """Return the most images that can be set against equally many held-out ones of the same classes.

    Raises:
        UserError: there are none for one of the classes.
    """
    if classes == 0:
        return len(held_out)
    counts = held_out.labels.bincount(minlength=classes)
    if not counts.all():
        missing = [repr(name) for name, count in zip(held_out.class_names, counts, strict=True) if not count]
        raise UserError(
            f"as many images as {held_out.name} has of each class",
            f"none there is of class {', '.join(missing[:3])}" + ", ..." * (len(missing) > 3),
            "say how many with --count: they are set beside the real images that there are",
        )
    return classes * int(counts.min())
