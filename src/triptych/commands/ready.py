"""An experiment found in order before anything of its run is touched, on one process or several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from triptych.commands.memory import check_memory
from triptych.data.dataset import Dataset
from triptych.denoiser import Denoiser
from triptych.devices import select_device
from triptych.distributed import Ranks
from triptych.errors import UserError
from triptych.experiment import ExperimentConfig
from triptych.precision import select_precision
from triptych.training.previews import check_preview
from triptych.work import Watch, unwatched

T = TypeVar("T")


@dataclass(frozen=True)
class Ready:
    """An experiment whose device, data and model were found in order before any folder is touched."""

    experiment: ExperimentConfig
    device: torch.device
    dataset: Dataset
    denoiser: Denoiser

    @classmethod
    def of(cls, experiment: ExperimentConfig, watch: Watch = unwatched, *, saves: bool = True) -> Ready:
        """Prepare an experiment, `watch`ing its images decoded.

        Args:
            experiment: what is to be trained.
            watch: sees how far the decoding has come.
            saves: whether this process writes its checkpoints, which takes memory.

        Raises:
            UserError: it cannot be trained as it stands.
        """
        device = select_device(experiment.device)
        remedy = "leave it at auto, or add --force-precision True"
        precision = select_precision(
            experiment.precision, device, force=experiment.force_precision, remedy=remedy
        )
        dataset = experiment.data.load(watch)
        if experiment.conditional and len(dataset.class_names) < 2:
            raise UserError(
                f"train {experiment.name}, which is conditional, on {dataset.name}",
                "it has one class",
                "give each class a folder of its own, or set --conditional False",
            )
        check_memory(experiment, dataset, device, experiment.training.averages, saves=saves)
        denoiser = experiment.build_for(dataset)
        denoiser.precision = precision
        check_preview(experiment.training, denoiser.backbone.classes)
        dataset = replace(dataset, train=dataset.train.to(device))
        return cls(experiment, device, dataset, denoiser.to(device))


def trial(action: Callable[[], T]) -> Callable[[], T]:
    """Do `action` now; return what gives its outcome, or raises its UserError, later."""
    try:
        found = action()
    except UserError as error:
        mistake = error

        def refuse() -> T:
            raise mistake

        return refuse
    return lambda: found


def for_ranks(experiment: ExperimentConfig, ranks: Ranks) -> ExperimentConfig:
    """Return the experiment with its batch as a whole, which every rank gets a part of.

    Raises:
        UserError: there are more ranks than images in a batch, or more images than a batch can have.
    """
    training = experiment.training
    if (each := training.batch_size_per_rank) is not None:
        try:
            training = replace(training, batch_size=each * ranks.size, batch_size_per_rank=None)
        except UserError as error:
            asked = f"--training.batch-size-per-rank {each} on {ranks.size} processes, {error.asked}"
            raise UserError(asked, error.found, error.remedy) from error
    if ranks.many and ":" in experiment.device:
        raise UserError(
            f"--device {experiment.device} on {ranks.size} processes",
            "all of them would take the same one",
            "leave the number out: each takes its own",
        )
    if training.batch_size < ranks.size:
        raise UserError(
            f"--training.batch-size {training.batch_size} on {ranks.size} processes",
            "some would have no image",
            "start fewer of them, or choose a larger batch",
        )
    return replace(experiment, training=training)
