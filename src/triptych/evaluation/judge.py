"""From a model and a request to one row of an evaluation table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cached_property

import torch

from triptych.data.dataset import Dataset, ImageSet
from triptych.denoiser import Denoiser
from triptych.devices import synchronize
from triptych.distributed import ALONE, Ranks
from triptych.errors import UserError
from triptych.evaluation.measure import Batch, figures, measure_together, metrics_for
from triptych.evaluation.reference import real_features, reference_features
from triptych.generation import Generated, Request, generate
from triptych.metrics.extractors import EXTRACTORS
from triptych.metrics.extractors.extractor import Extractor
from triptych.metrics.features import FeatureSet
from triptych.record.environment import describe_device, versions
from triptych.record.events import Evaluated, Passport
from triptych.work import Watch, unwatched


class Judge:
    """Measures models against one data set by one extractor; what is real is measured once.

    To make one costs nothing, and to ask it whether a request can be measured costs no more: the extractor,
    which may have to be trained, is got ready for the first passport or the first row.

    Args:
        dataset: its training split is the reference, its held-out split gives the real images that every
            figure is set beside.
        device: where to compute features.
        extractor: name of the extractor.
        force: measure even fewer images than a metric takes.
        watch: sees how far the work on real images has come: that of the extractor's training, and features.
        ranks: who draws which of the images. Each has a judge of its own, and asks it for the same passports
            and rows; what is real is measured by the first.
    """

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device,
        extractor: str = "classifier",
        *,
        force: bool = False,
        watch: Watch = unwatched,
        ranks: Ranks = ALONE,
    ):
        self.dataset = dataset
        self.device = device
        self.available = EXTRACTORS[extractor]
        self.metrics = metrics_for(extractor)
        self.force = force
        self.watch = watch
        self.ranks = ranks
        self._real: dict[tuple[int, ...], FeatureSet] = {}

    @cached_property
    def extractor(self) -> Extractor:
        """The network that features come from; UserError where ranks have unlike ones."""
        with self.ranks.in_turn():  # what the first one trains, the others find in the cache
            made = self.available.make(self.dataset.train, self.device, watch=self.watch)
        unlike = torch.tensor(float(self.ranks.agree(made.sha256) != made.sha256))
        if self.ranks.sum(unlike) > 0:
            found = f"{int(unlike)} of {self.ranks.size} processes have another {made.name} than the first"
            remedy = "give all of them one cache: set TRIPTYCH_CACHE to a folder that they share"
            raise UserError(f"measure images of {self.dataset.train.name}", found, remedy)
        return made

    @cached_property
    def reference(self) -> FeatureSet:
        """Features of the training split."""
        return reference_features(self.dataset, self.extractor, self.device, self.metrics, self.watch)

    def real(self, generated: FeatureSet) -> FeatureSet:
        """Features of the held-out images that match `generated`, measured once for rows of like classes."""
        classes = tuple(generated.labels.sort().values.tolist())
        if classes not in self._real:
            self._real[classes] = real_features(
                self.dataset, generated, self.extractor, self.device, self.metrics, self.watch
            )
        return self._real[classes]

    def passport(
        self, request: Request, checkpoint: str, epoch: float, weights: str, precision: str = "float32"
    ) -> Passport:
        """Return what identifies the figures of a request to a checkpoint."""
        train = self.dataset.train
        return Passport(
            checkpoint=checkpoint,
            epoch=epoch,
            weights=weights,
            sampler=request.sampler.label,
            guidance=request.guidance,
            clip=request.sampler.clip,
            seed=request.seed,
            count=request.count,
            reference=train.name,
            reference_digest=train.digest,
            reference_count=len(train),
            extractor=self.extractor.name,
            extractor_digest=self.extractor.sha256,
            versions=versions(),
            device=describe_device(self.device, self.ranks.size),
            precision=precision,
            held_out_digest=self.dataset.held_out.digest,
        )

    def check(self, denoiser: Denoiser, request: Request) -> None:
        """Raise `UserError` where the model cannot answer `request`, or it asks for too few images."""
        classes = denoiser.backbone.classes
        request.check(classes)
        request.sampler.levels(denoiser.schedule)  # refuses a grid finer than the schedule
        shown = len(request.classes or range(classes)) if shows_classes(request, classes) else 0
        widths = self.available.widths(self.dataset.train)
        for metric in self.metrics.values():
            if shown or not metric.labelled:
                metric.check_count(request.count, widths.__getitem__, shown, force=self.force)

    def row(
        self,
        denoiser: Denoiser,
        request: Request,
        passport: Passport,
        watch: Callable[[Generated], None] = lambda batch: None,
    ) -> Evaluated:
        """Generate the images of `request` and measure them; `watch` sees each batch of this rank.

        Of several ranks all get the same row. Its times are those of the whole: the longest that one of them
        drew, and what is left until the figures are there.

        Raises:
            UserError: the model cannot answer the request, or it asks for too few images.
        """
        self.check(denoiser, request)
        labelled = shows_classes(request, denoiser.backbone.classes)
        clock = GenerationClock(self.device)
        calls = 0
        start = time.perf_counter()

        def batches() -> Iterator[Batch]:
            nonlocal calls
            for batch in clock.timed(generate(denoiser, request, share=self.ranks.share(request.count))):
                calls = batch.calls
                watch(batch)
                yield batch.pixels, batch.labels if labelled else None, batch.index

        generated = measure_together(batches(), self.extractor, self.device, self.metrics, self.ranks)
        spent = self.ranks.gather((clock.seconds, calls))

        def finished() -> Evaluated:
            real = self.real(generated)
            measured = figures(generated, self.reference, real, self.metrics, force=self.force)
            generation = max(seconds for seconds, _ in spent)
            return Evaluated(
                passport=passport,
                figures=measured,
                batch_size=request.batch_size,
                network_calls=max(calls for _, calls in spent),
                generation_took=generation,
                measuring_took=time.perf_counter() - start - generation,
            )

        return self.ranks.lead(finished)


def shows_classes(request: Request, classes: int) -> bool:
    """Whether the images of `request`, to a model of `classes` classes, are asked to show one each.

    Without guidance towards a class they are asked to show none.
    """
    return classes > 0 and request.guidance > 0


class GenerationClock:
    """Adds up the seconds that a stream of batches takes to come, and not those of its consumer."""

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds = 0.0

    def timed(self, batches: Iterator[Generated]) -> Iterator[Generated]:
        """Pass the batches on."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            synchronize(self.device)
            self.seconds += time.perf_counter() - start
            if batch is None:
                return
            yield batch


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
