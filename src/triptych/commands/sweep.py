"""The rows of an evaluation: which are asked for, what they will take, and one after another of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from triptych.commands.evaluate_options import EvaluateOptions
from triptych.commands.sampler_options import chosen_samplers, guided
from triptych.distributed import Ranks
from triptych.errors import UserError
from triptych.evaluation.config import Protocol, parse_protocol
from triptych.evaluation.cost import Cost, drawing_seconds, measuring_seconds
from triptych.evaluation.judge import Judge, balanced_count, shown_classes, shown_labels
from triptych.evaluation.nearest import nearest_picture
from triptych.evaluation.selection import recorded
from triptych.generation import Generated, Request
from triptych.guidance import PLAIN, Guide
from triptych.metrics import named_metrics
from triptych.metrics.feature_store import FeatureStore
from triptych.metrics.metric import Metric
from triptych.models import Model
from triptych.record.events import Evaluated, Passport
from triptych.record.pictures import save_png
from triptych.runs import Run
from triptych.work import Watch

FOLDER = "evaluations"
"""In a run's folder: features of rows that are not finished yet, and pictures of those that are."""


@dataclass(frozen=True)
class Asked:
    """A row that is asked for.

    Attributes:
        sweep: that it is of.
        judge: what measures it.
        request: its images.
        passport: what identifies its figures.
    """

    sweep: Sweep
    judge: Judge
    request: Request
    passport: Passport

    @property
    def shown_classes(self) -> int:
        """How many classes its images show in turn; 0: none."""
        return shown_classes(self.request, self.sweep.model.denoiser.backbone.classes)

    @property
    def store(self) -> FeatureStore:
        """Where its features are kept until it is recorded."""
        return self.judge.store(self.request, self.passport, self.sweep.folder)

    @property
    def weights(self) -> tuple[str, str]:
        """Checkpoint and average that it is drawn with."""
        return self.passport.checkpoint, self.passport.weights


@dataclass(frozen=True)
class Measured:
    """A row, and what was asked for."""

    asked: Asked
    row: Evaluated


class Sweep:
    """Every combination of checkpoints, averages, samplers, scales and seeds of one run.

    To make one checks all of them and draws nothing: a typing error must not cost an hour.

    Args:
        run: the run.
        options: what is asked for; where they say nothing, the recipe of the run does.
        ranks: who works together; each has a sweep of its own, and asks it the same. The first alone reads
            and writes the record.
        watch: sees how far work on real images has come.
        judges: those of other sweeps, which are used again for the same images and metrics.

    Raises:
        UserError: something of it cannot be evaluated.
    """

    def __init__(
        self, run: Run, options: EvaluateOptions, ranks: Ranks, watch: Watch, judges: dict[tuple, Judge]
    ):
        self.run, self.options, self.ranks, self.watch = run, options, ranks, watch
        self.judges, self._of_image = judges, dict[tuple, Cost]()
        self.folder: Path = run.folder / FOLDER
        usual = run.experiment.evaluation
        # Models are opened to see that they can be, and again when their turn comes: held all at once they
        # might not fit.
        epochs: dict[tuple[str, str], tuple[float, str]] = {}
        for name in options.checkpoint or usual.checkpoint:
            for average in options.ema or (None,):
                self.model = self._opened(name, average)
                epochs[self.model.checkpoint, self.model.weights] = self.model.epoch, self.model.digest
        self.epochs = ranks.agree(epochs)  # a run that is still training may have got further
        with ranks.in_turn():  # what the first one decodes, the others find in the cache
            self.dataset = run.dataset
        self.metrics = named_metrics(options.metrics or usual.metrics)
        self.requests = self._requests()
        for request in self.requests:
            self.judge.check(self.model.denoiser, request)
            if options.screen is not None:
                self.screening.check(self.model.denoiser, replace(request, count=options.screen))
            if options.confirm is not None:
                self.judge.check(self.model.denoiser, replace(request, seed=self._fresh_seed))

    @cached_property
    def protocol(self) -> Protocol:
        """How many images are compared with which real ones."""
        options, usual = self.options, self.run.experiment.evaluation
        if options.protocol is not None:
            return parse_protocol(options.protocol)
        found = Protocol(usual.count, "train") if usual.protocol is None else parse_protocol(usual.protocol)
        if options.count is not None:
            return found._replace(count=options.count)
        if found.count is None:
            classes = self.model.denoiser.backbone.classes
            return found._replace(count=balanced_count(self.dataset.held_out, classes))
        return found

    @cached_property
    def judge(self) -> Judge:
        """What measures rows by all metrics that are asked for."""
        return self._judge(self.metrics)

    @cached_property
    def screening(self) -> Judge:
        """What measures rows by those metrics that mean something of the few images of a screening.

        Raises:
            UserError: the first, by which rows are ranked, is not among them.
        """
        count, classes = self.options.screen or 0, self.model.denoiser.backbone.classes
        bearable: dict[str, Metric] = {}
        for name, metric in self.metrics.items():
            try:
                self._judge({name: metric}).yardstick.check_count(count, classes)
                bearable[name] = metric
            except UserError as error:
                if not bearable:
                    remedy = "screen with more images, or by another metric: name that first in --metrics"
                    found = f"rows are ranked by {name}, and {error.found}"
                    raise UserError(f"--screen {count}", found, remedy) from error
        return self.judge if bearable == self.metrics else self._judge(bearable)

    def rows(self) -> list[Asked]:
        """Return all rows, of few images where they are screened; extractors are got ready for it."""
        judge = self.judge if self.options.screen is None else self.screening
        return [
            self._asked(judge, name, weights, replace(request, count=self.options.screen or request.count))
            for name, weights in self.epochs
            for request in self.requests
        ]

    def fresh(self, asked: Asked) -> Asked:
        """Return the same row with fresh noise, with all images and by all metrics."""
        request = replace(asked.request, count=self.protocol.count, seed=self._fresh_seed)
        return self._asked(self.judge, *asked.weights, request)

    @property
    def _fresh_seed(self) -> int:
        return max(self.options.seed or (0,)) + 1

    def known(self, asked: Asked) -> Evaluated | None:
        """Return what the record has of a row; None: not all that is asked for."""
        if self.options.again:
            return None
        shown = self._labels(asked.request) is not None
        metrics = {
            name: metric.extractor
            for name, metric in asked.judge.yardstick.metrics.items()
            if shown or not metric.labelled
        }
        rows = (event.data for event in self.run.record.history().of_kind(Evaluated))
        return recorded(list(rows), asked.passport, metrics)

    def cost(self, asked: Asked) -> Cost:
        """Return what is left to do for a row, found out by doing a little of it; the first rank's work.

        What is real is measured by it, with the time that the metrics take.
        """
        yardstick, request = asked.judge.yardstick, asked.request
        size = min(request.batch_size, request.count)
        kind = id(asked.judge), request.sampler, request.guidance in (0, 1), request.guide, size
        if kind not in self._of_image:
            _, channels, height, width = self.dataset.train.images.shape
            shape = size, channels, height, width
            features = measuring_seconds(yardstick.extractors.values(), shape, self.model.device)
            self._of_image[kind] = Cost(drawing_seconds(self.model.denoiser, request), features)
        left = asked.store.left()
        metrics = yardstick.seconds(self._labels(request), request.count)
        return self._of_image[kind].times(left / self.ranks.size) + Cost(measuring=metrics)

    def measure(self, asked: Asked, *, silent: bool) -> Evaluated:
        """Return a row, drawn and measured now, and recorded."""
        if asked.weights != (self.model.checkpoint, self.model.weights):
            self.model = self._opened(*asked.weights)
        if self.model.digest != asked.passport.weights_digest:
            found = "its weights were written anew since this began, by training that went back"
            raise UserError(f"measure {asked.passport.checkpoint}", found, "give the same command again")
        model, judge = self.model, asked.judge
        if self.options.again and self.ranks.first:  # whatever an earlier start left is of that one
            asked.store.remove()
        with tqdm(total=asked.request.count, unit="image", disable=silent, leave=False) as bar:

            def watch(batch: Generated) -> None:
                bar.update(len(batch.index) * self.ranks.size)

            row = judge.row(model.denoiser, asked.request, asked.passport, self.folder, watch)
        if self.ranks.first:
            store = asked.store
            store.read()
            picture = nearest_picture(model.denoiser, asked.request, judge.yardstick, store.rows())
            if picture is not None:
                path = store.folder.with_name(f"{store.folder.name}-nearest.png")
                save_png(picture, path)
                row = replace(row, nearest=path.relative_to(self.run.folder).as_posix())
            self.run.record.append(row, model.step, model.attempt)
            store.remove()
        return row

    def _opened(self, checkpoint: str, average: str | None) -> Model:
        return self.run.model(checkpoint, average, self.options.device, self.options.precision)

    def _judge(self, metrics: Mapping[str, Metric]) -> Judge:
        splits = self.dataset.train.digest, self.dataset.held_out.digest
        key = *splits, str(self.model.device), self.protocol.reference, *metrics
        if key not in self.judges:
            self.judges[key] = Judge(
                self.dataset,
                self.model.device,
                metrics,
                reference=self.protocol.reference,
                force=self.options.force,
                watch=self.watch,
                ranks=self.ranks,
            )
        return self.judges[key]

    def _asked(self, judge: Judge, name: str, weights: str, request: Request) -> Asked:
        epoch, digest = self.epochs[name, weights]
        request = self.run.with_weaker(request, weights, self.model.denoiser, digest)
        if self.ranks.agree(request.weak_digest) != request.weak_digest:
            found = "ranks found unlike checkpoints there: it is still being trained"
            raise UserError(f"guide {request.guide.label}", found, "name a checkpoint by its epoch")
        passport = judge.passport(self.model.denoiser, request, name, epoch, weights, digest)
        return Asked(self, judge, request, passport)

    def _requests(self) -> list[Request]:
        """Return one request for every sampler, scale and seed, in the order given."""
        usual, drawn = self.run.experiment.evaluation, self.run.experiment.sampling
        samplers = chosen_samplers(
            self.options.sampler, self.options.details, usual.sampler or drawn.sampler[:1]
        )
        requests = [
            self.run.request(
                self.model,
                count=self.protocol.count,
                guidance=scale,
                sampler=sampler,
                seed=seed,
                batch_size=self.options.batch_size or usual.batch_size,
                guide=guide,
            )
            for sampler in samplers
            for scale, guide in self._scales()
            for seed in dict.fromkeys(self.options.seed or (0,))
        ]
        return list(dict.fromkeys(requests))

    def _scales(self) -> list[tuple[float, Guide]]:
        """Return the guidance scales with how they guide, that of no guidance beside any that guides."""
        usual, drawn = self.run.experiment.evaluation, self.run.experiment.sampling
        led = guided(
            self.options.guidance,
            self.options.guide,
            usual.guidance or (drawn.guidance,),
            usual.guide or (drawn.guide,),
            conditional=self.model.denoiser.backbone.classes > 0,
        )
        beside = self.options.unguided and any(scale > 1 for scale, _ in led)
        return [(1.0, PLAIN), *led] if beside else led

    def _labels(self, request: Request) -> Tensor | None:
        """Return the classes that the images of a request show; None: they show none."""
        return shown_labels(request, self.model.denoiser.backbone.classes)
