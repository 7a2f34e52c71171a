"""A training run as `triptych train` does it, and how much of it goes to what is no training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from benchmarks.cases.checkpoint_stall import writing
from benchmarks.comparison import Absent, Call, Case, Comparison, Variant
from benchmarks.work import folder
from triptych.checkpoints.find import FOLDER, RESUMED_FROM, newest_valid
from triptych.checkpoints.read import read
from triptych.cli import main
from triptych.commands.bench import BenchOptions
from triptych.data.batches import Batches
from triptych.experiment import ExperimentConfig, load_experiment
from triptych.record.events import Evaluated, Event, Saved
from triptych.record.record import FILE_NAME, Record
from triptych.training.ema import update_ema
from triptych.training.state import AVERAGES, TrainState

BASE = "triptych train"
RECIPE = "digits-unet"
TINY = [
    *("--backbone.width", "8", "--training.max-steps", "4", "--training.epochs", "2"),
    *("--training.checkpoint-every", "1", "--training.preview-every", "1"),
    *("--training.preview-from", "1", "--training.held-out-count", "8"),
]
ROUNDS = 6
OWN_ALLOCATOR = Absent("the program sets the treatment of freed memory itself: not with --plain-allocator")


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return the one comparison: a recipe from its first step to its last, in this process."""
    fields = TINY if options.quick else []
    parts: dict[str, Callable[[Trained], Call]] = {
        "its batches": batches,
        "its two averages": averages,
        "its checkpoints": checkpoints,
        "its record": recording,
    }
    variants = {BASE: Variant(lambda: training(fields))}
    variants |= {name: Variant(lambda part=part: part(trained(*fields))) for name, part in parts.items()}
    if options.plain_allocator:
        variants = {name: Variant(OWN_ALLOCATOR) for name in variants}
    batch = load_experiment(RECIPE, fields).training.batch_size
    title = f"the recipe {RECIPE}"
    return [Comparison(title, 0, batch, BASE, variants, ROUNDS, weighed=False)]  # memory: `triptych info`


@dataclass(frozen=True)
class Trained:
    """A run of the recipe that has come to its end.

    Attributes:
        experiment: its configuration.
        events: its record.
        folder: where it lies.
    """

    experiment: ExperimentConfig
    events: tuple[Event, ...]
    folder: Path

    @property
    def steps(self) -> int:
        """How many were taken."""
        return self.events[-1].step

    @property
    def saves(self) -> int:
        """How many checkpoints were written."""
        return sum(isinstance(event.data, Saved) for event in self.events)


@cache
def trained(*fields: str) -> Trained:
    """Return a run with these fields set otherwise, trained once."""
    runs = folder("whole-run")
    train(str(runs), fields)
    return Trained(load_experiment(RECIPE, fields), Record.of_run(runs / RECIPE).events(), runs / RECIPE)


def train(runs: str, fields: Sequence[str]) -> None:
    """Train the recipe, in this process."""
    assert main(["train", RECIPE, "--runs", runs, "--quiet", "--device", "cpu", *fields]) == 0


def training(fields: Sequence[str]) -> Call:
    """Return the run, from its data to its last checkpoint."""

    def whole() -> Sequence[Tensor]:
        with TemporaryDirectory(prefix="whole-run-") as runs:
            train(runs, fields)
        return ()

    return whole


def batches(run: Trained) -> Call:
    """Return the loading of all its batches."""
    config = run.experiment.training
    images = run.experiment.data.load().train
    found = Batches(images, config.batch_size, run.experiment.seed, run.experiment.data.flip)

    def load() -> Sequence[Tensor]:
        for step in range(run.steps):
            found.at(step)
        return ()

    return load


def averages(run: Trained) -> Call:
    """Return all steps of its averages."""
    data = run.experiment.data.load()
    denoiser = run.experiment.build(data.channels, data.image_size, len(data.train.class_names))
    state = TrainState.fresh(denoiser.backbone, run.experiment.training)

    def move() -> Sequence[Tensor]:
        for _ in range(run.steps):
            for name in AVERAGES:
                update_ema(state.averages[name], state.network, 0.999)
        return ()

    return move


def checkpoints(run: Trained) -> Call:
    """Return all its saves, each until it is safe; in a run a thread does most of that beside training."""
    last, _ = newest_valid(run.folder / FOLDER, RESUMED_FROM)
    assert last is not None
    save = writing(read(last))

    def saves() -> Sequence[Tensor]:
        for _ in range(run.saves):
            save()
        return ()

    return saves


def recording(run: Trained) -> Call:
    """Return all its events, written and flushed anew, and the reading of them that each save asks for."""

    def write() -> Sequence[Tensor]:
        with TemporaryDirectory(prefix="whole-run-") as place:
            record = Record(Path(place) / FILE_NAME)
            for event in run.events:
                record.append(event.data, event.step, event.attempt)
                if isinstance(event.data, Saved):
                    record.history().of_kind(Evaluated)
        return ()

    return write


CASE = Case("a training run, and the share of its batches, averages, checkpoints and record", comparisons)
