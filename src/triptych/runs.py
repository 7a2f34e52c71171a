"""A run's folder, opened: its experiment, its record, and models from its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from triptych.data.dataset import Dataset
from triptych.denoiser import Denoiser
from triptych.errors import UserError
from triptych.evaluation.judge import Judge
from triptych.experiment import ExperimentConfig, parse_experiment
from triptych.generation import Request, generate
from triptych.guidance import Guide, named_guide
from triptych.models import Model, opened
from triptych.precision import Precision
from triptych.recipe_files import as_tokens, parse_recipe
from triptych.record.events import DataSummary, Evaluated
from triptych.record.record import Record
from triptych.sampling import SamplerConfig, named_sampler
from triptych.work import Watch, unwatched

CONFIG = "config.yaml"


def refuse_other_images(dataset: Dataset, trained_on: DataSummary, asked: str) -> None:
    """Raise `UserError` where `dataset` is not what a run was trained on; where it lies does not matter.

    What the record does not hold is not compared: of an imported model nobody knows the images.
    """
    if not trained_on.digest:
        return
    expected = {"training": trained_on.digest, "held-out": trained_on.held_out_digest}
    for split, images in (("training", dataset.train), ("held-out", dataset.held_out)):
        if expected[split] not in ("", images.digest):
            digests = f"{images.digest[:12]}, those of the run {expected[split][:12]}"
            found = f"its {split} images have sha256 {digests}"
            break
    else:
        if dataset.class_names == trained_on.class_names:
            return
        found = f"its classes were called {', '.join(trained_on.class_names)}"
    remedy = f"say with --data.path where {trained_on.name} lies, or start another run with --name"
    raise UserError(f"{asked} on {dataset.name} ({len(dataset.train):,} images)", found, remedy)


class Run:
    """A folder that `triptych train`, `import` or `export --format run` made.

    Args:
        folder: path of the run.
        data_path: where its images lie now; empty: where its configuration says.
        watch: sees how far the decoding of its images has come.

    Raises:
        UserError: it is no run.
    """

    def __init__(self, folder: Path | str, data_path: str = "", watch: Watch = unwatched):
        self.folder = Path(folder)
        self.data_path = data_path
        self.watch = watch
        self.record = Record.of_run(self.folder)
        self._weaker: dict[tuple, tuple[str, Model]] = {}

    @cached_property
    def experiment(self) -> ExperimentConfig:
        """The configuration that the run was last trained with."""
        path = str(self.folder / CONFIG)
        return parse_experiment(as_tokens(self.saved_fields()), path, "restore the file from a copy")

    @cached_property
    def dataset(self) -> Dataset:
        """The images that the run was trained on; for an imported one, those that its configuration names.

        Raises:
            UserError: they are not to be had, or not of the model's kind.
        """
        data = self.experiment.data
        if self.data_path:
            data = replace(data, path=self.data_path)
        elif data.path and not Path(data.path).expanduser().exists():
            raise UserError(
                f"measure {self.folder}",
                f"its images lay in {data.path}, where there is nothing now",
                "say with --data.path where they lie",
            )
        dataset = data.load(self.watch)
        needed = self.record.history().origin.data
        refuse_other_images(dataset, needed, f"measure {self.folder}")
        found, wanted = (
            (images.channels, images.image_size, *[len(images.class_names)] * self.experiment.conditional)
            for images in (dataset, needed)
        )
        if found != wanted:
            raise UserError(
                f"data of run {self.folder}",
                f"{dataset.name} has {found} channels, pixels and classes, the model {wanted}",
                f"name its own data set in {CONFIG}",
            )
        return dataset

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in label order, from the record: the images themselves are not needed."""
        return self.record.history().origin.data.class_names

    def saved_fields(self) -> dict:
        """Return the fields of `config.yaml`."""
        path = self.folder / CONFIG
        if not path.exists():
            self.record.history().refuse_written()
        try:
            return parse_recipe(str(path), path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"run {self.folder}", f"no {CONFIG} in it", "give the folder of a run") from error
        except UnicodeDecodeError as error:
            raise UserError(f"run {self.folder}", f"{CONFIG} is no text", "restore it from a copy") from error

    def model(
        self,
        checkpoint: str = "last",
        weights: str | None = None,
        device: str | None = None,
        precision: Precision | None = None,
    ) -> Model:
        """Return the model of a checkpoint, ready to sample from.

        Args:
            checkpoint: `last`, `best-mse`, `epoch-350` or `350`; `best-fid`, or another metric's name, is the
                one with the best figure that was recorded.
            weights: `ema`, the usual average of the weights; `ema_long`, a slower one; `best`, the one of
                these with the lower held-out error; or `none`, the raw weights, while it still has them.
            device: None takes the experiment's.
            precision: of the network; None takes float32 if the experiment asks for it, else what suits the
                device.

        Raises:
            UserError: no such checkpoint or weights, or it is broken or of another network.
        """
        return opened(self.folder, self.experiment, self.record, checkpoint, weights, device, precision)

    def request(
        self,
        model: Model,
        *,
        count: int | None = None,
        guidance: float | None = None,
        sampler: SamplerConfig | str | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        classes: Sequence[int] = (),
        guide: Guide | str | None = None,
    ) -> Request:
        """Return a request to `model`, with the recipe's defaults for all that is None.

        Args:
            model: of this run.
            count: images in all; None for the recipe's number of each class.
            guidance: scale; 0 unconditional, 1 plain conditional, above 1 guided.
            sampler: such as `ddim:50`, or a sampler with its options.
            seed: of all noise.
            batch_size: images drawn at a time; changes no noise.
            classes: numbers of the classes to draw, in turn; none given: all.
            guide: how they are guided, such as `cfg,above=0.2`; at a scale of at most 1 it means nothing.

        Raises:
            UserError: the model cannot answer it.
        """
        defaults, classes_known = self.experiment.sampling, model.denoiser.backbone.classes
        if guide is None or isinstance(guide, str):
            guide = named_guide(guide or defaults.guide)
        if guidance is None:
            guidance = defaults.guidance if classes_known or guide.against else 0.0
        if guidance == 1 and not classes_known:
            guidance = 0.0  # an unconditional model's own prediction, be it the plain end of guided ones
        if sampler is None or isinstance(sampler, str):
            sampler = named_sampler(sampler or defaults.sampler[0])
        request = Request(
            count=defaults.per_class * len(classes or self.class_names) if count is None else count,
            guidance=guidance,
            sampler=sampler,
            seed=seed,
            batch_size=defaults.batch_size if batch_size is None else batch_size,
            classes=tuple(classes) or None,
            guide=guide,
        )
        request = self.with_weaker(request, model.weights, model.denoiser, model.digest)
        request.check(classes_known)
        request.check_levels(model.denoiser.schedule)
        return request

    def with_weaker(self, request: Request, weights: str, denoiser: Denoiser, digest: str) -> Request:
        """Return a request with the model opened that its guide leads away from, where there is one.

        Args:
            request: to a model of this run; its guide comes back with the name of the checkpoint in full.
            weights: what records call the model's weights; of the other the same average is taken.
            denoiser: the model.
            digest: sha256 of the file of its weights.

        Raises:
            UserError: there is no such checkpoint, it draws other images, or it is the model itself.
        """
        if not request.guide.against:
            return request
        device = next(denoiser.parameters()).device
        key = request.guide.against, weights, str(device), denoiser.precision
        if key not in self._weaker:
            self._weaker[key] = self._opened_weaker(request.guide, weights, denoiser, device)
        folder, found = self._weaker[key]
        name = f"{folder}@{found.checkpoint}" if folder else found.checkpoint
        if found.digest == digest:
            itself = f"{name} is the model itself"
            raise UserError(
                f"guide {request.guide.label}", itself, "name a weaker one, such as an earlier one"
            )
        guide = replace(request.guide, against=name)
        return replace(request, guide=guide, weak=found.denoiser, weak_digest=found.digest)

    def _opened_weaker(
        self, guide: Guide, weights: str, denoiser: Denoiser, device: torch.device
    ) -> tuple[str, Model]:
        """Return the folder of another run, empty for this one, and its model."""
        folder, _, checkpoint = guide.against.rpartition("@")
        if not folder and "/" in checkpoint:
            found = f"{checkpoint} is no checkpoint of this run"
            raise UserError(f"guide {guide.label}", found, f"of another run write {checkpoint}@last")
        run = Run(folder) if folder else self
        found = run.model(checkpoint, weights, str(device), cast(Precision, denoiser.precision))
        mine, other = (
            (b.channels, b.image_size, names if b.classes else ())
            for b, names in (
                (denoiser.backbone, self.class_names),
                (found.denoiser.backbone, run.class_names),
            )
        )
        if mine != other:
            kind = "{}x{} pixels, {} channels, {}".format
            told = [
                kind(side, side, c, f"{len(names)} classes" if names else "no classes")
                for c, side, names in (other, mine)
            ]
            unlike = (
                "its classes are others" if told[0] == told[1] else f"it has {told[0]}, the model {told[1]}"
            )
            raise UserError(
                f"guide {guide.label}", unlike, "guide against a model of the same images and classes"
            )
        return folder, found

    def sample(self, model: Model, request: Request) -> tuple[Tensor, Tensor]:
        """Return images, uint8 [N, C, H, W], and the classes asked for, int64 [N], both on the host."""
        batches = list(generate(model.denoiser, request))
        pixels = torch.cat([batch.pixels.cpu() for batch in batches])
        return pixels, torch.cat([batch.labels.cpu() for batch in batches])

    def evaluate(self, model: Model, request: Request, judge: Judge | None = None) -> Evaluated:
        """Return the figures of a request's images beside those of real ones; nothing is recorded.

        Args:
            model: of this run.
            request: which images.
            judge: to be used again for further rows; None makes one.

        Raises:
            UserError: the request asks for fewer images than a metric needs.
        """
        judge = judge or Judge(self.dataset, model.device)
        judge.check(model.denoiser, request)  # before the passport, for which an extractor may be trained
        passport = judge.passport(
            model.denoiser, request, model.checkpoint, model.epoch, model.weights, model.digest
        )
        return judge.row(model.denoiser, request, passport)
