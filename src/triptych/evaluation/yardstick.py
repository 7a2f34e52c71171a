"""What generated images are held against: real images, the networks that see them, and their own figures."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from triptych.data.dataset import ImageSet
from triptych.distributed import ALONE, Ranks
from triptych.errors import UserError
from triptych.evaluation.drawing import SEPARATOR
from triptych.evaluation.measure import figures, metrics_for, truths_of
from triptych.evaluation.reference import BATCH, matching, real_features
from triptych.metrics.extractors import EXTRACTORS
from triptych.metrics.extractors.extractor import Extractor
from triptych.metrics.features import FeatureSet
from triptych.metrics.metric import Metric, Value
from triptych.record.events import Figure
from triptych.work import Watch, unwatched

Reference = Literal["train", "held-out"]


class Side(NamedTuple):
    """Metrics of one extractor that compare with the same real images.

    Attributes:
        extractor: its name.
        target: the images that others are compared with.
        beside: real images whose figures stand beside, not among `target`; None: there are none.
        metrics: by name.
    """

    extractor: str
    target: ImageSet
    beside: ImageSet | None
    metrics: Mapping[str, Metric]


class Yardstick:
    """Real images on both sides of every figure, each measured once, and only when it is asked for.

    To make one costs nothing: the extractors, which may have to be fetched or trained, are got ready when
    they are first needed.

    Args:
        train: the training split; an extractor may learn from it.
        held_out: real images that are not among it; None: there are none.
        metrics: what is measured, by name.
        device: where to compute features.
        reference: the split that images are compared with; the other one gives the figures beside. What a
            model may have memorised is looked for in the training split in any case.
        force: measure even fewer images than a metric takes.
        watch: sees how far the work on real images has come: that of an extractor's training, and features.
        ranks: who works together. Each has a yardstick of its own; what is real is measured by the first.
        batch_size: images that are measured at a time, of those that are there.
    """

    def __init__(
        self,
        train: ImageSet,
        held_out: ImageSet | None,
        metrics: Mapping[str, Metric],
        device: torch.device,
        *,
        reference: Reference = "train",
        force: bool = False,
        watch: Watch = unwatched,
        ranks: Ranks = ALONE,
        batch_size: int = BATCH,
    ):
        self.batch_size = batch_size
        self.train, self.metrics, self.device = train, metrics, device
        self.force, self.watch, self.ranks = force, watch, ranks
        self.reference, self.beside = train, held_out
        if reference == "held-out":
            assert held_out is not None
            self.reference, self.beside = held_out, train
        self.available = {metric.extractor: EXTRACTORS[metric.extractor] for metric in metrics.values()}
        self.sides: list[Side] = []
        for extractor in self.available:
            mine = metrics_for(extractor, metrics).items()
            # What compares with nothing, or with what was trained on, stands beside images that neither the
            # model nor the extractor has seen, whichever the reference is.
            comparing = {name: metric for name, metric in mine if metric.compares and not metric.memorisation}
            others = {name: metric for name, metric in mine if name not in comparing}
            self.sides.append(Side(extractor, self.reference, self.beside, comparing))
            self.sides.append(Side(extractor, train, held_out, others))
        self.sides = [side for side in self.sides if side.metrics]
        self._features: dict[tuple[str, str, str], FeatureSet] = {}
        self._truths: dict[str, dict[str, Value | None]] = {}
        self._seconds: dict[str, float] = {}

    @cached_property
    def extractors(self) -> dict[str, Extractor]:
        """The networks that features come from; UserError where ranks have unlike ones."""
        made: dict[str, Extractor] = {}
        for name, available in self.available.items():
            with self.ranks.in_turn():  # what the first one fetches or trains, the others find in the cache
                made[name] = available.make(self.train, self.device, watch=self.watch)
            digest = made[name].sha256
            unlike = torch.tensor(float(self.ranks.agree(digest) != digest))
            if self.ranks.sum(unlike) > 0:
                found = f"{int(unlike)} of {self.ranks.size} processes have another {name} than the first"
                remedy = "give all of them one cache: set TRIPTYCH_CACHE to a folder that they share"
                raise UserError(f"measure images of {self.train.name}", found, remedy)
        return made

    def widths(self, extractor: str, *, comparing: bool = False) -> dict[str, int]:
        """Return the numbers in each output of an extractor that its metrics read, by name.

        Args:
            extractor: its name.
            comparing: those alone that are read of the reference as well.
        """
        mine = metrics_for(extractor, self.metrics).values()
        read = {metric.feature for metric in mine if metric.compares or not comparing}
        every = self.available[extractor].widths(self.train)
        return {name: width for name, width in every.items() if name in read}

    @property
    def kept(self) -> dict[str, int]:
        """The numbers in each output that is kept of generated images, by `extractor.output`."""
        return {
            f"{name}{SEPARATOR}{output}": width
            for name in self.available
            for output, width in self.widths(name).items()
        }

    def check_count(self, count: int, classes: int) -> None:
        """Raise `UserError` where a metric of `count` images, or against too few real ones, means nothing.

        Args:
            count: number of generated images.
            classes: how many classes they show in turn; 0: none, so that metrics of classes are left out.
        """
        for refusal in self._refusals(count, classes, force=self.force).values():
            raise refusal

    def forced(self, count: int, classes: int) -> list[str]:
        """Return the metrics that are measured by `force` alone; see `check_count`."""
        return list(self._refusals(count, classes, force=False))

    def _refusals(self, count: int, classes: int, *, force: bool) -> dict[str, UserError]:
        """Return why metrics, by name, mean nothing of so many images."""
        targets = {name: side.target for side in self.sides for name in side.metrics}
        refused = {}
        for name, metric in self.metrics.items():
            if metric.labelled and not classes:
                continue
            width, target = self.widths(metric.extractor).__getitem__, targets[name]
            try:
                metric.check_count(count, width, classes, force=force)
                if metric.compares:
                    against = f"{name} against {len(target):,} images of {target.name}"
                    metric.check_count(len(target), width, force=force, asked=against)
            except UserError as error:
                refused[name] = error
        return refused

    def target_features(self, side: Side) -> FeatureSet:
        """Return the features of all images that the metrics of a side compare with."""
        every = torch.arange(len(side.target))
        return self._measured(side.extractor, side.target, every, comparing=True)

    def truths(self, labels: Tensor | None, count: int) -> dict[str, Value | None]:
        """Return the value of every metric for real images, measured once for sets of like classes.

        Args:
            labels: classes of the generated images, int64 [N], or None where they were asked to show none.
            count: N.
        """
        like = likeness(labels, count)
        if like not in self._truths:
            found: dict[str, Value | None] = {}
            seconds = 0.0
            for side in self.sides:
                if side.beside is not None:
                    index = matching(side.beside.labels.cpu(), labels, count)
                    real = self._measured(side.extractor, side.beside, index)
                    real = real if labels is not None else real.unlabelled()
                    target, start = self.target_features(side), time.perf_counter()
                    found |= truths_of(real, target, side.metrics, force=self.force)
                    seconds += (time.perf_counter() - start) * count / len(real)
            self._truths[like], self._seconds[like] = found, seconds
        return self._truths[like]

    def seconds(self, labels: Tensor | None, count: int) -> float:
        """Return what the metrics of so many images take, once features are there, as real ones tell."""
        self.truths(labels, count)
        return self._seconds[likeness(labels, count)]

    def figures(self, rows: Mapping[str, Tensor], labels: Tensor | None, count: int) -> tuple[Figure, ...]:
        """Return the figures of images by all metrics, each beside that of real images.

        Args:
            rows: features of N images, float32 [N, D], by the names that `kept` has.
            labels: the classes that they were asked to show, int64 [N]; None: none.
            count: N.

        Raises:
            UserError: too few images for one of the metrics.
        """
        truths, found = self.truths(labels, count), []
        for side in self.sides:
            name, digest = side.extractor, self.extractors[side.extractor].sha256
            mine = {output: rows[f"{name}{SEPARATOR}{output}"] for output in self.widths(name)}
            generated, target = FeatureSet.of(mine, labels, digest), self.target_features(side)
            found += figures(generated, target, truths, side.metrics, force=self.force)
        order = list(self.metrics)
        return tuple(sorted(found, key=lambda figure: order.index(figure.metric)))

    def figures_of(self, images: ImageSet, labels: Tensor | None) -> tuple[Figure, ...]:
        """Return the figures of images that are there, as `figures` does of those that are drawn.

        Args:
            images: N of them; what their labels are is not asked.
            labels: the classes that they show, int64 [N], in the order of the reference; None: none.
        """
        every = torch.arange(len(images))
        rows = {
            f"{name}{SEPARATOR}{output}": found.rows(output)
            for name in self.available
            for found in [self._measured(name, images, every)]
            for output in self.widths(name)
        }
        return self.figures(rows, labels, len(images))

    def _measured(
        self, extractor: str, images: ImageSet, index: Tensor, *, comparing: bool = False
    ) -> FeatureSet:
        """Return features of real images, the same ones for the same images."""
        widths = self.widths(extractor, comparing=comparing)
        key = extractor, images.digest, repr((index.tolist(), sorted(widths)))
        if key not in self._features:
            made = self.extractors[extractor]
            self._features[key] = real_features(
                images, index, made, widths, self.device, self.watch, batch_size=self.batch_size
            )
        return self._features[key]


def likeness(labels: Tensor | None, count: int) -> str:
    """Return a hash of how many images show which class: sets that share it meet the same real ones."""
    shown = "none" if labels is None else labels.bincount().tolist()
    return hashlib.sha256(repr((shown, count)).encode()).hexdigest()
