"""The proof that a run can be resumed: given on a copy, by the code that resumes it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from triptych.checkpoints.compare import difference, distance
from triptych.checkpoints.contents import Contents
from triptych.checkpoints.find import FOLDER, newest_valid
from triptych.checkpoints.fit import LARGEST
from triptych.checkpoints.manifest import FILE_NAME as MANIFEST
from triptych.checkpoints.manifest import Manifest
from triptych.checkpoints.read import read
from triptych.checkpoints.write import write
from triptych.commands.ready import Ready
from triptych.commands.training_console import TrainingConsole
from triptych.commands.training_session import open_training
from triptych.data.dataset import Dataset, ImageSet
from triptych.devices import select_device
from triptych.errors import UserError
from triptych.experiment import ExperimentConfig
from triptych.precision import select_precision
from triptych.record.events import DataSummary
from triptych.record.record import FILE_NAME as RECORD
from triptych.runs import CONFIG, Run
from triptych.training.clock import Clock
from triptych.training.loop import Training
from triptych.training.state import TrainState
from triptych.work import Watch, unwatched

STEPS = 2
"""Optimiser steps that are taken twice."""

TOLERANCE = 1e-3
"""How far apart, relative to their size, a device that adds in another order may bring two steps."""

REMEDY = "train no further before this is understood, and keep a copy of the run"


@dataclass(frozen=True)
class Proof:
    """What was shown of a checkpoint.

    Attributes:
        checkpoint: its name.
        step: optimiser steps taken before it.
        parts: number of its parts, all of which came back from a training bit by bit.
        tensors: in all of them.
        fields: of its state, all of which came back.
        size: bytes of it all.
        steps: that were taken twice from it; 0: none, since its images are not at hand.
        device: that they were taken on.
        apart: how far apart they ended; 0: in no bit.
    """

    checkpoint: str
    step: int
    parts: int
    tensors: int
    fields: int
    size: int
    steps: int
    device: str
    apart: float


def sentence(proof: Proof) -> str:
    """Return in one sentence what was proved."""
    held = f"{proof.parts} parts, {proof.tensors} tensors, {proof.fields} fields of state"
    came_back = (
        f"proved: {proof.checkpoint} goes into a fresh training and back to disk bit by bit "
        f"({held}, {proof.size / 1e6:,.1f} MB)"
    )
    if not proof.steps:
        return (
            f"{came_back}; no step was taken, since its images are not at hand (say with --data.path where)"
        )
    taken = f"{came_back}; {proof.steps} steps from it, taken twice on {proof.device},"
    if not proof.apart:
        return f"{taken} are equal bit by bit"
    return f"{taken} are {proof.apart:.1e} apart, as kernels that add in another order are"


def prove_resume(
    folder: Path,
    checkpoint: str,
    device: str | None = None,
    data_path: str = "",
    watch: Watch = unwatched,
) -> Proof:
    """Take a checkpoint into a fresh training and back, and two steps from it twice; return what was shown.

    The run's folder is only read: its record, its configuration and this checkpoint are copied into a
    temporary folder, where they are resumed as `triptych train` would.

    Args:
        folder: of the run.
        checkpoint: its newest whole one.
        device: where to train; None takes the experiment's.
        data_path: where its images lie now; empty: where its configuration says.
        watch: sees how far the decoding of its images has come.

    Raises:
        UserError: the run cannot be resumed, or something did not come back as it was.
    """
    threads = torch.get_num_threads()
    with TemporaryDirectory(prefix="triptych-verify-", ignore_cleanup_errors=True) as place:
        first, second = (Path(place, copied, folder.name) for copied in ("first", "second"))
        try:
            with _told_of(folder, first, second):
                return _prove(folder, first, second, checkpoint, device, data_path, watch)
        finally:
            torch.set_num_threads(threads)


def _prove(
    folder: Path, first: Path, second: Path, checkpoint: str, device: str | None, data_path: str, watch: Watch
) -> Proof:
    _copy_run(folder, first)
    _copy_checkpoint(folder / FOLDER / checkpoint, first / FOLDER / checkpoint)
    saved = read(first / FOLDER / checkpoint)
    experiment, data = _experiment(first, device, data_path, saved.state.get("step"))
    at_hand = experiment.data.at_hand()
    ready = Ready.of(experiment, watch) if at_hand else _without_images(experiment, data)
    fresh = copy.deepcopy(ready.denoiser)

    training = _resumed(first, ready)
    _copy_run(folder, second)
    _check_return(second, checkpoint, training, saved)
    apart = 0.0
    if at_hand:
        once = _two_steps_on(training)
        again = _two_steps_on(_resumed(second, replace(ready, denoiser=fresh)))
        apart = _check_steps(folder / FOLDER / checkpoint, once, again, training.device)
    return Proof(
        checkpoint,
        int(saved.state["step"]),
        len(saved.tensors),
        sum(map(len, saved.tensors.values())),
        len(saved.state),
        Manifest.load(folder / FOLDER / checkpoint).size,
        STEPS if at_hand else 0,
        str(training.device),
        apart,
    )


@contextmanager
def _told_of(folder: Path, *copies: Path) -> Iterator[None]:
    """Let errors speak of the run, not of its copies, and tell a temporary folder that is full as such."""
    try:
        yield
    except UserError as error:
        told = [error.asked, error.found, error.remedy]
        for copied in copies:
            told = [text.replace(str(copied), str(folder)) for text in told]
        raise UserError(*told) from error
    except OSError as error:
        place, remedy = copies[0].parents[1], "name a folder with more room by TMPDIR"
        if error.filename is not None and Path(error.filename).is_relative_to(folder):
            place, remedy = Path(error.filename), "training may go on there: give the command again"
        found = error.strerror or str(error)
        raise UserError(f"prove the resume of {folder}", f"{place}: {found}", remedy) from error


def _copy_run(folder: Path, target: Path) -> None:
    """Copy what makes a folder a run: its record and its configuration."""
    target.mkdir(parents=True)
    for name in (RECORD, CONFIG):
        shutil.copyfile(folder / name, target / name)


def _copy_checkpoint(folder: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in (MANIFEST, *(file.name for file in Manifest.load(folder).files)):
        shutil.copyfile(folder / name, target / name)


def _experiment(
    folder: Path, device: str | None, data_path: str, step: object
) -> tuple[ExperimentConfig, DataSummary]:
    """Return the run's experiment, long enough for the steps to be taken, and what it was trained on."""
    if type(step) is not int or not 0 <= step <= LARGEST:
        step = 0  # the resume will refuse it, and say why
    run = Run(folder)
    experiment, data = run.experiment, run.record.history().started.data
    if device is not None:
        experiment = replace(experiment, device=device)
    if data_path:
        experiment = replace(experiment, data=replace(experiment.data, path=data_path))
    training = experiment.training
    if Clock(training, data.train_images).total_steps < step + STEPS:
        epochs = -(-(step + STEPS) * training.batch_size // data.train_images)
        training = replace(training, epochs=max(epochs, training.epochs), max_steps=None)
    return replace(experiment, training=training), data


def _without_images(experiment: ExperimentConfig, data: DataSummary) -> Ready:
    """Return an experiment ready but for its images, for which blank ones of the same form stand in."""
    device = select_device(experiment.device)

    def blank(split: str, count: int, digest: str) -> ImageSet:
        images = torch.zeros((), dtype=torch.uint8, device=device)
        images = images.expand(count, data.channels, data.image_size, data.image_size)
        labels = torch.zeros((), dtype=torch.int64, device=device).expand(count)
        stand_in = ImageSet(f"{data.name}/{split}", images, labels, data.class_names)
        vars(stand_in)["digest"] = digest  # it is for those images that it stands in
        return stand_in

    train = blank("train", data.train_images, data.digest)
    dataset = Dataset(data.name, train, blank("held-out", data.held_out_images, data.held_out_digest))
    denoiser = experiment.build_for(dataset).to(device)
    denoiser.precision = select_precision(experiment.precision, device, force=experiment.force_precision)
    return Ready(experiment, device, dataset, denoiser)


def _resumed(folder: Path, ready: Ready) -> Training:
    training = open_training(folder, ready, TrainingConsole(ready.experiment.name, quiet=True))
    assert training is not None  # its experiment is longer than it was trained
    return training


def _check_return(folder: Path, checkpoint: str, training: Training, saved: Contents) -> None:
    """Save a state that was just restored into another copy, and compare what can be read there."""
    state = training.state
    contents = state.contents(checkpoint, saved.state["epoch"])
    back = read(write(folder / FOLDER, checkpoint, contents))
    ignored = {"attempt"}  # a resume is one more
    if training.faults > saved.state["salt"]:  # the record knows of a rollback to this checkpoint
        ignored.add("salt")
    if not state.scaler.is_enabled():  # fp16's, and this device computes in another precision
        ignored.add("scaler")
    if found := difference(contents, back) or difference(saved, back, ignored, grown=True):
        raise UserError(
            f"resume {folder} from {checkpoint}", f"once restored and saved again, {found}", REMEDY
        )


class _Enough:
    """Asks training to stop when some more steps are taken."""

    def __init__(self, state: TrainState, steps: int):
        self.state, self.last = state, state.step + steps

    @property
    def reason(self) -> str | None:
        """Why training should stop, once it should."""
        return "enough" if self.state.step >= self.last else None


def _two_steps_on(training: Training) -> Contents:
    """Train for some steps as `triptych train` would, and return what was saved after them."""
    training.run(_Enough(training.state, STEPS))
    newest, _ = newest_valid(training.folder / FOLDER)
    assert newest is not None  # it was saved when it stopped
    return read(newest)


def _check_steps(checkpoint: Path, once: Contents, again: Contents, device: torch.device) -> float:
    """Return how far apart two trainings from one checkpoint ended: on a processor, in no bit."""
    found = difference(once, again)
    if found is None:
        return 0.0
    apart = float("inf") if device.type == "cpu" else distance(once, again)
    if apart > TOLERANCE:
        raise UserError(
            f"resume {checkpoint.parents[1]} from {checkpoint.name}",
            f"{STEPS} steps from it, taken twice on {device}, end differently: {found}",
            REMEDY,
        )
    return apart
