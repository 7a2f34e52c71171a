"""One run of `triptych train`: start or resume it, train, and say what happened."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from triptych.checkpoints.lock import lock
from triptych.commands.training_console import TrainingConsole
from triptych.data.dataset import Dataset
from triptych.devices import select_device
from triptych.diffusion.objectives import OBJECTIVES
from triptych.errors import UserError
from triptych.experiment import ExperimentConfig, changes, may_change
from triptych.record.environment import describe_device, versions
from triptych.record.events import DataSummary, Device, Resumed, Started
from triptych.record.record import FILE_NAME, Record
from triptych.runs import CONFIG, Run
from triptych.training.loop import Training
from triptych.training.resume import restore_newest
from triptych.training.state import TrainState
from triptych.training.stop import StopRequest
from triptych.training.tensorboard import TensorBoard, tensorboard_installed


def train_run(
    experiment: ExperimentConfig, runs: Path, *, max_minutes: float | None = None, quiet: bool = False
) -> dict:
    """Train one experiment to its end or to a stop; return what happened, as plain values.

    Args:
        experiment: what to train.
        runs: the folder in which its run's folder lies or is made.
        max_minutes: stop, after saving, when this much time has passed.
        quiet: print nothing.

    Raises:
        UserError: the folder or its checkpoints do not allow it.
    """
    folder = runs / experiment.name
    changed = changes_since(folder, experiment)
    with lock(folder), StopRequest(max_minutes) as stop:
        console = TrainingConsole(experiment.name, quiet=quiet)
        training = open_training(folder, experiment, changed, console)
        stopped = None
        if training is None:
            console.say(
                f"{folder} is already trained to its end; more --training.epochs would go on from there"
            )
        else:
            with console.bar(training):
                stopped = training.run(stop)
            console.closing(folder, stopped)
    return {"run": str(folder), "stopped": stopped}


def changes_since(folder: Path, experiment: ExperimentConfig) -> dict[str, tuple]:
    """Return the fields in which the run in `folder`, if there is one, differs from `experiment`.

    Raises:
        UserError: a field differs that a run cannot change on the way.
    """
    if not (folder / FILE_NAME).exists():
        return {}
    changed = changes(Run(folder).experiment.fields(), experiment.fields())
    changed.pop("name", None)  # a folder may be copied or moved, and goes on under its new name
    refused = [name for name in changed if not may_change(name)]
    if refused:
        old, new = changed[refused[0]]
        raise UserError(
            f"train {folder} with --{refused[0].replace('_', '-')} {new}",
            f"it was trained with {old}",
            "train it as it was, or start another run with --name",
        )
    return changed


def open_training(
    folder: Path, experiment: ExperimentConfig, changed: dict[str, tuple], console: TrainingConsole
) -> Training | None:
    """Return the run ready to train, from its newest checkpoint or from the start; None: it is finished."""
    device = select_device(experiment.device)
    dataset = experiment.data.load()
    dataset = Dataset(dataset.name, dataset.train.to(device), dataset.held_out)
    denoiser = experiment.build(dataset).to(device)
    state = TrainState.fresh(denoiser.backbone, experiment.training)
    record = Record(folder / FILE_NAME)
    history = record.history()
    point = restore_newest(folder, state)
    state.attempt = history.attempt + 1
    training = Training(
        folder=folder,
        config=experiment.training,
        denoiser=denoiser,
        objective=OBJECTIVES[experiment.diffusion.objective],
        dataset=dataset,
        state=state,
        seed=experiment.seed,
        flip=experiment.data.flip,
        record=record,
        listeners=[console.hear],
        on_step=console.on_step,
    )
    if history.events and history.finished and state.step >= training.clock.total_steps:
        return None
    if tensorboard_installed():
        training.listeners.append(TensorBoard(folder / "tensorboard", state.step))
    _write_config(folder, experiment)
    hardware = describe_device(device)
    if history.events:
        training.emit(
            Resumed(
                point.checkpoint, point.skipped, changed, hardware, versions(), training.clock.total_steps
            )
        )
    else:
        training.emit(_started(experiment, dataset, training, hardware))
    return training


def _started(experiment: ExperimentConfig, dataset: Dataset, training: Training, hardware: Device) -> Started:
    train = dataset.train
    summary = DataSummary(
        name=dataset.name,
        digest=train.digest,
        channels=dataset.channels,
        image_size=dataset.image_size,
        train_images=len(train),
        held_out_images=len(dataset.held_out),
        class_names=dataset.class_names,
    )
    return Started(
        name=experiment.name,
        config=experiment.fields(),
        data=summary,
        parameters=sum(p.numel() for p in training.denoiser.parameters()),
        conditional=experiment.conditional,
        device=hardware,
        versions=versions(),
        steps_per_epoch=len(train) / experiment.training.batch_size,
        total_steps=training.clock.total_steps,
    )


def _write_config(folder: Path, experiment: ExperimentConfig) -> None:
    """Write `config.yaml` so that it is absent, old or complete at any moment."""
    aside = folder / f".{CONFIG}.{os.getpid()}.writing"
    aside.write_text(yaml.safe_dump(experiment.fields(), sort_keys=False), encoding="utf-8")
    os.replace(aside, folder / CONFIG)
