"""One run of `triptych train`: start or resume it, train, and say what happened."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import yaml

from triptych.backbones.costs import costs
from triptych.checkpoints.find import FOLDER, RESUMED_FROM, all_checkpoints, lost, newest_valid
from triptych.checkpoints.lock import lock
from triptych.checkpoints.verify import read_state
from triptych.commands.ready import Ready, for_ranks, trial
from triptych.commands.recorded_checkpoints import recorded
from triptych.commands.training_console import TrainingConsole
from triptych.commands.work_console import WorkConsole
from triptych.distributed import ALONE, Ranks
from triptych.errors import UserError
from triptych.experiment import ExperimentConfig, changes, may_change
from triptych.precision import DTYPES
from triptych.record.environment import describe_device, versions
from triptych.record.events import DataSummary, Saved, Started
from triptych.record.history import History
from triptych.record.record import FILE_NAME, Record
from triptych.runs import CONFIG, Run, refuse_other_images
from triptych.training.arrangement import arranged
from triptych.training.clock import Clock
from triptych.training.compiling import compile_together
from triptych.training.disk import check_disk, disk_need
from triptych.training.loop import Training
from triptych.training.resume import restore_newest
from triptych.training.saving import folder_size
from triptych.training.state import TrainState
from triptych.training.stop import AgreedStop
from triptych.training.tensorboard import TensorBoard, tensorboard_installed


def train_run(
    experiment: ExperimentConfig,
    runs: Path,
    console: TrainingConsole,
    stop: AgreedStop,
    ranks: Ranks = ALONE,
) -> dict:
    """Train one experiment to its end or to a stop; return what happened, as plain values.

    Args:
        experiment: what to train.
        runs: the folder in which its run's folder lies or is made.
        console: what is shown of it.
        stop: what it is asked to stop by, after saving.
        ranks: the processes that train it, each of which calls this.

    Raises:
        UserError: the folder or its checkpoints do not allow it, or training went astray.
    """
    folder = runs / experiment.name
    each = experiment.training.batch_size_per_rank
    experiment = for_ranks(experiment, ranks)
    ranks.lead(lambda: refuse_untrainable(folder))
    if ended := ranks.lead(lambda: clock_of_trained(folder, experiment, each)):
        return tell_end(folder, ended, console)
    watch = WorkConsole(console.say, quiet=console.quiet)
    with ranks.in_turn():  # what the first one decodes, the others find in the cache
        ready = trial(lambda: Ready.of(experiment, watch, saves=ranks.first))
    ready = ranks.together(ready)
    clock = Clock(experiment.training, len(ready.dataset.train))
    disk = ranks.lead(lambda: told_of_disk(folder, clock, ready))
    # Only from here on: while images are fetched and decoded, Ctrl-C ends the program at once.
    with ExitStack() as held, stop.own:
        ranks.lead(lambda: held.enter_context(lock(folder)))
        training = open_training(folder, ready, console, ranks, each)
        if training is None:
            return tell_end(folder, clock, console)
        console.say(disk)
        dtype = DTYPES[ready.denoiser.precision]
        for line in ready.denoiser.backbone.implementations(ready.device, dtype):
            console.say(line)
        if training.state.compiled:
            images = max(map(len, training.stepper.pieces()))
            training.state.compiled, told = compile_together(ready.denoiser, images, ranks)
            console.say(told)
        with console.bar(training):
            stopped = training.run(stop)
        console.closing(folder, stopped, training.state.step)
    return {"run": str(folder), "stopped": stopped}


def clock_of_trained(folder: Path, experiment: ExperimentConfig, each: int | None = None) -> Clock | None:
    """Return the clock of the run in `folder` where that is trained to its end, told without its images.

    None also where something is missing or broken: what is left is then for the resume to say.

    Raises:
        UserError: the experiment differs from it in what a run cannot change on the way.
    """
    history = Record(folder / FILE_NAME).history()
    if not (history.events and history.finished):
        return None
    changes_since(folder, experiment, each)
    root = folder / FOLDER
    newest, skipped = newest_valid(root, RESUMED_FROM)
    if newest is None or skipped or lost(root, recorded(history), newest):
        return None
    clock = Clock(experiment.training, history.started.data.train_images)
    step = read_state(newest).get("step")
    return clock if type(step) is int and step >= clock.total_steps else None


def tell_end(folder: Path, clock: Clock, console: TrainingConsole) -> dict:
    """Say that there is nothing left to train, and return it as `train_run` does."""
    limit = "max-steps" if clock.total_steps < clock.end_of(clock.config.epochs) else "epochs"
    console.say(f"{folder} is trained to its end; more --training.{limit} would go on from there")
    return {"run": str(folder), "stopped": None}


def told_of_disk(folder: Path, clock: Clock, ready: Ready) -> str:
    """Return what to tell of the disk that a run's checkpoints will take; UserError: there is too little."""
    present = [path.name for path in all_checkpoints(folder / FOLDER)]
    return check_disk(disk_need(clock, ready.denoiser.backbone, present), folder)


def refuse_untrainable(folder: Path) -> None:
    """Raise `UserError` where the run in `folder` is a model alone, imported or a small copy of another."""
    history = Record(folder / FILE_NAME).history()
    if history.events and history.exported:
        found = f"it is a copy of the run {history.exported.run} with its model alone"
        raise UserError(f"train {folder}", found, "train the run itself, or start another one with --name")
    if history.events and history.imported:
        found = f"its model was trained elsewhere, and imported from {history.imported.source}"
        raise UserError(f"train {folder}", found, "start another run with --name")


def changes_since(folder: Path, experiment: ExperimentConfig, each: int | None = None) -> dict[str, tuple]:
    """Return the fields in which the run in `folder`, if there is one, differs from `experiment`.

    Args:
        folder: of the run.
        experiment: what is to be trained now.
        each: the batch for each process, where it was given so.

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
        asked = f"--{refused[0].replace('_', '-')} {new}"
        if each is not None and refused[0] == "training.batch_size":
            asked = f"--training.batch-size-per-rank {each}, which is {asked}"
        raise UserError(
            f"train {folder} with {asked}",
            f"it was trained with {old}",
            "train it as it was, or start another run with --name",
        )
    return changed


def open_training(
    folder: Path, ready: Ready, console: TrainingConsole, ranks: Ranks = ALONE, each: int | None = None
) -> Training | None:
    """Return the run ready to train, from its newest checkpoint or from the start; None: it is finished.

    The first rank holds the run's lock, and alone reads and writes its folder.

    Args:
        folder: of the run.
        ready: its experiment.
        console: hears of its events.
        ranks: the processes that train it.
        each: the batch for each of them, where it was given so.
    """
    experiment = ready.experiment
    changed = ranks.lead(lambda: changes_since(folder, experiment, each))
    precision = ready.denoiser.precision
    state = TrainState.fresh(ready.denoiser.backbone, experiment.training, precision)
    record = Record(folder / FILE_NAME)
    history = ranks.lead(record.history)
    if history.events:
        ranks.together(lambda: refuse_other_images(ready.dataset, history.started.data, f"train {folder}"))
    point = ranks.lead(lambda: restore_newest(folder, state, recorded(history)))
    state.spread(ranks)
    state.attempt = history.attempt + 1
    if not point.checkpoint:
        arrange(state, ready, console, ranks, history)
    training = Training(
        folder=folder,
        config=experiment.training,
        denoiser=ready.denoiser,
        objective=experiment.diffusion.build_objective(),
        dataset=ready.dataset,
        state=state,
        seed=experiment.seed,
        flip=experiment.data.flip,
        record=record,
        ranks=ranks,
        faults=history.faults,
        returned_to=history.returned_to,
        on_step=console.on_step,
    )
    if history.events and history.finished and state.step >= training.clock.total_steps:
        return None
    if not ranks.first:
        return training
    training.listeners.append(console.hear)
    if tensorboard_installed():
        training.listeners.append(TensorBoard(folder / "tensorboard", state.step))
    # A configuration that differs from the record's last word would lose the change if training died
    # between the two; so the first start writes the file first, and a resume the event.
    if history.events:
        training.emit(training.resumed(point, changed))
        note_unrecorded(training, history, point.checkpoint)
        write_config(folder, experiment)
    else:
        write_config(folder, experiment)
        training.emit(started(ready, training))
    return training


def arrange(
    state: TrainState, ready: Ready, console: TrainingConsole, ranks: Ranks, history: History
) -> None:
    """Choose how a run computes that has saved nothing: measured by the first rank; or as its record says."""
    if history.events:
        begun = history.started.versions
        state.layout = begun.get("layout", state.layout)
        state.compiled = begun.get("compiled", str(state.compiled)) == "True"
        return
    config = ready.experiment.training
    share = len(ranks.share(config.batch_size))
    images = min(share, config.microbatch or share)
    steps = Clock(config, len(ready.dataset.train)).total_steps
    state.settle(config)  # threads and memory are those of training
    chosen = ranks.lead(
        lambda: arranged(ready.denoiser, images, steps, layout=config.layout, compiled=config.compile)
    )
    state.layout, state.compiled = chosen.layout, chosen.compiled
    for line in chosen.said:
        console.say(line)


def note_unrecorded(training: Training, history: History, checkpoint: str) -> None:
    """Record the checkpoint that was resumed from, where training died before it could."""
    known = {event.data.checkpoint for event in history.of_kind(Saved)}
    if checkpoint and checkpoint not in known:
        epoch = training.clock.epoch(training.state.step)
        size = folder_size(training.folder / FOLDER / checkpoint)
        training.emit(Saved(epoch, checkpoint, size, None, ()))


def started(ready: Ready, training: Training) -> Started:
    """Return the first event of a run."""
    experiment, dataset = ready.experiment, ready.dataset
    network, state = costs(training.denoiser.backbone), training.state
    computed = training.denoiser.backbone.computed_by(ready.device, DTYPES[ready.denoiser.precision])
    if state.layout != "nchw" or state.compiled:
        computed |= {"layout": state.layout, "compiled": str(state.compiled)}
    summary = DataSummary(
        name=dataset.name,
        digest=dataset.train.digest,
        channels=dataset.channels,
        image_size=dataset.image_size,
        train_images=len(dataset.train),
        held_out_images=len(dataset.held_out),
        class_names=dataset.class_names,
        preparation=dataset.preparation,
        held_out_digest=dataset.held_out.digest,
    )
    return Started(
        name=experiment.name,
        config=experiment.fields(),
        data=summary,
        parameters=network.parameters,
        conditional=experiment.conditional,
        device=describe_device(ready.device, training.ranks.size),
        versions=versions() | computed,
        steps_per_epoch=len(dataset.train) / experiment.training.batch_size,
        total_steps=training.clock.total_steps,
        precision=ready.denoiser.precision,
        flops=network.flops,
        ranks=training.ranks.size,
    )


def write_config(folder: Path, experiment: ExperimentConfig) -> None:
    """Write `config.yaml` so that it is absent, old or complete at any moment."""
    aside = folder / f".{CONFIG}.{os.getpid()}.writing"
    aside.write_text(yaml.safe_dump(experiment.fields(), sort_keys=False), encoding="utf-8")
    os.replace(aside, folder / CONFIG)
