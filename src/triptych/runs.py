"""A run's folder, opened: its experiment, its record, and models from its checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from triptych.checkpoints.find import all_checkpoints, resolve
from triptych.checkpoints.manifest import BrokenCheckpoint, Manifest
from triptych.checkpoints.read import read
from triptych.data.dataset import Dataset
from triptych.denoiser import Denoiser
from triptych.devices import select_device
from triptych.errors import UserError
from triptych.evaluation.judge import Judge
from triptych.evaluation.selection import best_names
from triptych.evaluation.weights import USUAL, part_of, recorded_name
from triptych.experiment import ExperimentConfig, parse_experiment
from triptych.generation import Request, generate
from triptych.metrics import named_metrics
from triptych.precision import Precision, select_precision
from triptych.recipe_files import as_tokens, parse_recipe
from triptych.record.events import DataSummary, Evaluated
from triptych.record.record import Record
from triptych.sampling import SamplerConfig, named_sampler
from triptych.work import Watch, unwatched

CONFIG = "config.yaml"


@dataclass(frozen=True)
class Model:
    """A denoiser with the weights of one checkpoint.

    Attributes:
        denoiser: on its device, in evaluation mode.
        checkpoint: name of the checkpoint's folder.
        epoch: at which it was taken.
        step: optimiser steps taken.
        attempt: which start of the run wrote it.
        weights: what records call them: `ema`, `ema_long` or `raw`.
        digest: sha256 of their file.
    """

    denoiser: Denoiser
    checkpoint: str
    epoch: float
    step: int
    attempt: int
    weights: str
    digest: str

    @property
    def title(self) -> str:
        """What captions call it: the checkpoint, and its weights where they are not the usual average."""
        return self.checkpoint if self.weights == USUAL else f"{self.checkpoint} ({self.weights})"

    @property
    def device(self) -> torch.device:
        """The device that it computes on."""
        return next(self.denoiser.parameters()).device


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


def _number(path: Path, state: dict, name: str) -> float:
    """Return a number from a checkpoint's state, which anybody may have written."""
    if type(state.get(name)) not in (int, float):
        raise UserError(f"checkpoint {path}", f"its state does not say its {name}", "choose another one")
    return state[name]


class Run:
    """A folder that `triptych train` or `triptych import` made.

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
        try:
            return parse_recipe(str(path), path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"run {self.folder}", f"no {CONFIG} in it", "give the folder of a run") from error
        except UnicodeDecodeError as error:
            raise UserError(f"run {self.folder}", f"{CONFIG} is no text", "restore it from a copy") from error

    def model(
        self,
        checkpoint: str = "last",
        weights: str = USUAL,
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
        evaluations = [event.data for event in self.record.history().of_kind(Evaluated)]
        if checkpoint.startswith("best-") and checkpoint != "best-mse":
            # A slip is no lack of evaluations.
            named_metrics([checkpoint.removeprefix("best-").replace("-", "_")])
        path = resolve(self.folder, checkpoint, best_names(evaluations))
        if checkpoint == "last" and path != (newest := all_checkpoints(path.parent)[-1]):
            warnings.warn(f"{newest.name} is broken and was passed over for {path.name}", stacklevel=2)
        try:
            part = part_of(path, weights)
            contents, digest = read(path, [part]), Manifest.load(path).parts[part].sha256
        except BrokenCheckpoint as error:
            raise UserError(f"checkpoint {path}", error.reason, "choose another one") from error
        data = self.record.history().origin.data
        denoiser = self.experiment.build(data.channels, data.image_size, len(data.class_names))
        try:
            denoiser.backbone.load_state_dict(contents.tensors[part])
        except RuntimeError as error:
            found = "its weights are of another network"
            raise UserError(f"checkpoint {path}", found, "restore the run's config.yaml") from error
        chosen = select_device(device or self.experiment.device)
        # A precision that a recipe forced on one device is not to be forced on another that merely samples.
        usual = "float32" if self.experiment.precision == "float32" else "auto"
        denoiser.precision = select_precision(precision or usual, chosen)
        denoiser.to(chosen).eval()
        epoch, step, attempt = (_number(path, contents.state, name) for name in ("epoch", "step", "attempt"))
        return Model(denoiser, path.name, float(epoch), int(step), int(attempt), recorded_name(part), digest)

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

        Raises:
            UserError: the model cannot answer it.
        """
        defaults = self.experiment.sampling
        conditional = model.denoiser.backbone.classes > 0
        if guidance is None:
            guidance = defaults.guidance if conditional else 0.0
        if sampler is None or isinstance(sampler, str):
            sampler = named_sampler(sampler or defaults.sampler[0])
        request = Request(
            count=defaults.per_class * len(classes or self.class_names) if count is None else count,
            guidance=guidance,
            sampler=sampler,
            seed=seed,
            batch_size=defaults.batch_size if batch_size is None else batch_size,
            classes=tuple(classes) or None,
        )
        request.check(model.denoiser.backbone.classes)
        request.sampler.levels(model.denoiser.schedule)  # refuses a grid finer than the schedule
        return request

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
            request, model.checkpoint, model.epoch, model.weights, model.denoiser.precision, model.digest
        )
        return judge.row(model.denoiser, request, passport)
