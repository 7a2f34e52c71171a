"""A run's folder, opened: its experiment, its record, and models from its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from triptych.checkpoints.find import resolve
from triptych.checkpoints.manifest import BrokenCheckpoint
from triptych.checkpoints.read import read
from triptych.data.dataset import Dataset
from triptych.denoiser import Denoiser
from triptych.devices import select_device
from triptych.errors import UserError
from triptych.experiment import ExperimentConfig, parse_experiment
from triptych.recipe_files import as_tokens, parse_recipe
from triptych.record.record import Record

CONFIG = "config.yaml"

Weights = Literal["ema", "raw"]


@dataclass(frozen=True)
class Model:
    """A denoiser with the weights of one checkpoint.

    Attributes:
        denoiser: on its device, in evaluation mode.
        checkpoint: name of the checkpoint's folder.
        epoch: at which it was taken.
        step: optimiser steps taken.
        attempt: which start of the run wrote it.
        weights: `ema` or `raw`.
    """

    denoiser: Denoiser
    checkpoint: str
    epoch: float
    step: int
    attempt: int
    weights: Weights


class Run:
    """A folder that `triptych train` made.

    Args:
        folder: path of the run.

    Raises:
        UserError: it is no run.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.record = Record.of_run(self.folder)

    @cached_property
    def experiment(self) -> ExperimentConfig:
        """The configuration that the run was last trained with."""
        return parse_experiment(as_tokens(self.saved_fields()), str(self.folder / CONFIG))

    @cached_property
    def dataset(self) -> Dataset:
        """The images that the run was trained on."""
        return self.experiment.data.load()

    def saved_fields(self) -> dict:
        """Return the fields of `config.yaml`."""
        path = self.folder / CONFIG
        try:
            return parse_recipe(str(path), path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"run {self.folder}", f"no {CONFIG} in it", "give the folder of a run") from error

    def model(self, checkpoint: str = "last", weights: Weights = "ema", device: str | None = None) -> Model:
        """Return the model of a checkpoint, ready to sample from.

        Args:
            checkpoint: `last`, `best-mse`, `epoch-350` or `350`.
            weights: the moving average, or the raw weights of a checkpoint that still has them.
            device: None takes the experiment's.

        Raises:
            UserError: no such checkpoint, or it is broken or of another network.
        """
        path = resolve(self.folder, checkpoint)
        part = "ema" if weights == "ema" else "weights"
        try:
            contents = read(path, [part])
        except BrokenCheckpoint as error:
            raise UserError(f"checkpoint {path}", error.reason, "choose another one") from error
        denoiser = self.experiment.build(self.dataset)
        try:
            denoiser.backbone.load_state_dict(contents.tensors[part])
        except RuntimeError as error:
            found = "its weights are of another network"
            raise UserError(f"checkpoint {path}", found, "restore the run's config.yaml") from error
        denoiser.to(select_device(device or self.experiment.device)).eval()
        state = contents.state
        return Model(
            denoiser, path.name, float(state["epoch"]), int(state["step"]), int(state["attempt"]), weights
        )


def device_of(model: Model) -> torch.device:
    """Return the device that a model computes on."""
    return next(model.denoiser.parameters()).device
