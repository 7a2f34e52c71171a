"""From a model and a request to one row of an evaluation table."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from triptych.backbones.backbone import OURS
from triptych.data.dataset import Dataset, ImageSet
from triptych.denoiser import Denoiser
from triptych.distributed import ALONE, Ranks
from triptych.errors import UserError
from triptych.evaluation.config import USUAL_METRICS
from triptych.evaluation.drawing import draw_features
from triptych.evaluation.yardstick import Reference, Yardstick
from triptych.generation import Generated, Request
from triptych.metrics import named_metrics
from triptych.metrics.feature_store import BYTES, FeatureStore
from triptych.metrics.metric import Metric
from triptych.precision import DTYPES
from triptych.record.environment import describe_device, versions
from triptych.record.events import Evaluated, Passport
from triptych.work import Watch, unwatched


class Judge:
    """Measures models against one data set by some metrics; what is real is measured once.

    To make one costs nothing, and to ask it whether a request can be measured costs no more: the extractors,
    which may have to be fetched or trained, are got ready for the first passport or the first row.

    Args:
        dataset: one of its splits is the reference, the other gives the real images beside every figure.
        device: where to compute features.
        metrics: what is measured, by name; None: what is measured where nobody says otherwise.
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
        metrics: Mapping[str, Metric] | None = None,
        *,
        reference: Reference = "train",
        force: bool = False,
        watch: Watch = unwatched,
        ranks: Ranks = ALONE,
    ):
        self.yardstick = Yardstick(
            dataset.train,
            dataset.held_out,
            named_metrics(USUAL_METRICS) if metrics is None else metrics,
            device,
            reference=reference,
            force=force,
            watch=watch,
            ranks=ranks,
        )
        self.beside = dataset.held_out if reference == "train" else dataset.train
        self.ranks = ranks

    def passport(
        self,
        denoiser: Denoiser,
        request: Request,
        checkpoint: str,
        epoch: float,
        weights: str,
        weights_digest: str = "",
    ) -> Passport:
        """Return what identifies the figures of a request to a checkpoint.

        Args:
            denoiser: with this or any other weights of the run.
            request: which images.
            checkpoint: name of its folder.
            epoch: of the checkpoint.
            weights: name of the average.
            weights_digest: of the weights.
        """
        yardstick, precision = self.yardstick, denoiser.precision
        computed = denoiser.backbone.computed_by(yardstick.device, DTYPES[precision])
        return Passport(
            checkpoint=checkpoint,
            epoch=epoch,
            weights=weights,
            sampler=request.sampler.label,
            guidance=request.guidance,
            clip=request.sampler.clip,
            seed=request.seed,
            count=request.count,
            reference=yardstick.reference.name,
            reference_digest=yardstick.reference.digest,
            reference_count=len(yardstick.reference),
            versions=versions() | {part: name for part, name in computed.items() if name != OURS},
            device=describe_device(yardstick.device, self.ranks.size),
            precision=precision,
            held_out_digest=self.beside.digest,
            beside=self.beside.name,
            extractors={name: extractor.sha256 for name, extractor in yardstick.extractors.items()},
            weights_digest=weights_digest,
            told_class=request.shows_classes(denoiser.backbone.classes),
            guide=request.guide.label,
            weak_digest=request.weak_digest,
        )

    def check(self, denoiser: Denoiser, request: Request) -> None:
        """Raise `UserError` where the model cannot answer `request`, or it asks for too few images."""
        classes = denoiser.backbone.classes
        request.check(classes)
        request.sampler.levels(denoiser.schedule)  # refuses a grid finer than the schedule
        self.yardstick.check_count(request.count, shown_classes(request, classes))

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
            draw_features(denoiser, request, self.yardstick.extractors, store, self.ranks, watch)
            return self.ranks.lead(lambda: self._measured(denoiser, request, passport, store))

    def store(self, request: Request, passport: Passport, folder: Path) -> FeatureStore:
        """Return where in `folder` the features of a row are kept until it is recorded."""
        key, kept = row_key(passport), self.yardstick.kept
        return FeatureStore(folder / key[:20], kept, request.count, request.batch_size, key)

    def disk(self, request: Request) -> int:
        """Return the bytes that the features of a row take on the disk until it is recorded."""
        return BYTES * request.count * sum(self.yardstick.kept.values())

    def _measured(
        self, denoiser: Denoiser, request: Request, passport: Passport, store: FeatureStore
    ) -> Evaluated:
        """Return the row of images whose features are all there."""
        start = time.perf_counter()
        labels = shown_labels(request, denoiser.backbone.classes)
        measured = self.yardstick.figures(store.rows(), labels, request.count)
        spent = store.spent.values()
        return Evaluated(
            passport=passport,
            figures=measured,
            batch_size=request.batch_size,
            network_calls=max(batch.calls for batch in spent),
            generation_took=sum(batch.drawing for batch in spent),
            measuring_took=sum(batch.measuring for batch in spent) + time.perf_counter() - start,
        )


def row_key(passport: Passport) -> str:
    """Return a hash, hexadecimal, of all that makes the features of a row what they are."""
    identity = {k: v for k, v in asdict(passport).items() if k not in ("versions", "device")}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def shown_classes(request: Request, classes: int) -> int:
    """Return how many classes the images of `request`, to a model of `classes`, show in turn; 0: none."""
    return len(request.classes or range(classes)) if request.shows_classes(classes) else 0


def shown_labels(request: Request, classes: int) -> Tensor | None:
    """Return the class that each image of `request` is asked to show, int64 [N]; None: they show none."""
    return request.labels(torch.arange(request.count), classes) if request.shows_classes(classes) else None


def balanced_count(real: ImageSet, classes: int) -> int:
    """Return the most images that can be set against equally many real ones of the same classes.

    Raises:
        UserError: there are none for one of the classes.
    """
    if classes == 0:
        return len(real)
    counts = real.labels.bincount(minlength=classes)
    if not counts.all():
        missing = [repr(name) for name, count in zip(real.class_names, counts, strict=True) if not count]
        raise UserError(
            f"as many images as {real.name} has of each class",
            f"none there is of class {', '.join(missing[:3])}" + ", ..." * (len(missing) > 3),
            "say how many with --count: they are set beside the real images that there are",
        )
    return classes * int(counts.min())
