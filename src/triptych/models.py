"""A model from a checkpoint of a run, ready to sample from."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from triptych.checkpoints.find import all_checkpoints, resolve
from triptych.checkpoints.manifest import BrokenCheckpoint, Manifest
from triptych.checkpoints.read import read
from triptych.denoiser import Denoiser
from triptych.devices import select_device
from triptych.errors import UserError
from triptych.evaluation.selection import best_names
from triptych.evaluation.weights import USUAL, part_of, recorded_name
from triptych.experiment import ExperimentConfig
from triptych.metrics import named_metrics
from triptych.precision import Precision, select_precision
from triptych.record.events import Evaluated
from triptych.record.record import Record

GRAPHS = "TRIPTYCH_CUDA_GRAPHS"
"""Set to 0, this keeps networks from being recorded on a GPU."""


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
        digest: sha256 of their file; of several, that of theirs.
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


def opened(
    folder: Path,
    experiment: ExperimentConfig,
    record: Record,
    checkpoint: str = "last",
    weights: str | None = None,
    device: str | None = None,
    precision: Precision | None = None,
) -> Model:
    """Return the model of a checkpoint; see `Run.model`.

    Args:
        folder: of the run.
        experiment: its configuration.
        record: its record.
        checkpoint: which of its checkpoints.
        weights: which of the checkpoint's weights; None: those that were best of `best-fid` and the like, and
            of any other checkpoint the usual average.
        device: None takes the experiment's.
        precision: of the network; None takes float32 if the experiment asks for it, else what suits the
            device.

    Raises:
        UserError: no such checkpoint or weights, or it is broken or of another network.
    """
    evaluations = [event.data for event in record.history().of_kind(Evaluated)]
    if checkpoint.startswith("best-") and checkpoint != "best-mse":
        # A slip is no lack of evaluations.
        named_metrics([checkpoint.removeprefix("best-").replace("-", "_")])
    best = best_names(evaluations)
    path = resolve(folder, checkpoint, {name: chosen.checkpoint for name, chosen in best.items()})
    if weights is None and checkpoint in best:
        weights = best[checkpoint].weights
    if checkpoint == "last" and path != (newest := all_checkpoints(path.parent)[-1]):
        warnings.warn(f"{newest.name} is broken and was passed over for {path.name}", stacklevel=3)
    try:
        part = part_of(path, weights)
        contents, digest = read(path, [part]), Manifest.load(path).digest(part)
    except BrokenCheckpoint as error:
        raise UserError(f"checkpoint {path}", error.reason, "choose another one") from error
    data = record.history().origin.data
    denoiser = experiment.build(data.channels, data.image_size, len(data.class_names))
    try:
        denoiser.backbone.load_state_dict(contents.tensors[part])
    except RuntimeError as error:
        found = "its weights are of another network"
        raise UserError(f"checkpoint {path}", found, "restore the run's config.yaml") from error
    chosen = select_device(device or experiment.device)
    # A precision that a recipe forced on one device is not to be forced on another that merely samples.
    usual = "float32" if experiment.precision == "float32" else "auto"
    denoiser.precision = select_precision(precision or usual, chosen)
    denoiser.to(chosen).eval()
    if chosen.type == "cuda" and os.environ.get(GRAPHS) != "0":
        denoiser.replay()
    epoch, step, attempt = (_number(path, contents.state, name) for name in ("epoch", "step", "attempt"))
    return Model(denoiser, path.name, float(epoch), int(step), int(attempt), recorded_name(part), digest)


def _number(path: Path, state: dict, name: str) -> float:
    """Return a number from a checkpoint's state, which anybody may have written."""
    if type(state.get(name)) not in (int, float):
        raise UserError(f"checkpoint {path}", f"its state does not say its {name}", "choose another one")
    return state[name]
