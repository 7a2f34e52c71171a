"""How long each of several recipes trains, so that all take the same time on this machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.errors import UserError
from triptych.record.events import Progress
from triptych.record.record import Record

if TYPE_CHECKING:
    from triptych.experiment import ExperimentConfig

STAGES = 4
"""Checkpoints and previews of a run, about."""
WARMUP = 0.05
"""Of a run, the most that the rate may rise for; recipes are made for longer ones."""
WHOLE = 8
"""Epochs from which on a run ends with an epoch, which makes a sixteenth of the time at most."""


@dataclass(frozen=True)
class Planned:
    """What a recipe's training comes to in the time that each has."""

    recipe: str
    rate: float
    """Images per second, of the trial."""
    epochs: int
    max_steps: int | None
    """Where the last epoch is not whole."""
    seconds: float
    """Of training, at this rate."""
    options: tuple[str, ...]
    """What is typed after the recipe, folder aside."""

    @classmethod
    def of(cls, kept: dict) -> Planned:
        """Return what was kept of it in a file."""
        fields = {name: kept[name] for name in ("recipe", "rate", "epochs", "max_steps", "seconds")}
        return cls(**fields, options=tuple(kept["options"]))

    @property
    def name(self) -> str:
        """What its run is called."""
        return Path(self.recipe).stem

    @property
    def told(self) -> str:
        """The plan in a line."""
        length = f"{self.epochs} epochs" if self.max_steps is None else f"{self.max_steps:,} steps"
        return f"{self.name}: {self.rate:,.0f} images per second, {length}"


def planned(recipe: str, experiment: ExperimentConfig, rate: float, images: int, seconds: float) -> Planned:
    """Return how long a recipe trains.

    Args:
        recipe: as it is typed.
        experiment: what it says.
        rate: images per second.
        images: of an epoch.
        seconds: that training is to take, all else aside.
    """
    training = experiment.training
    exact = max(rate * seconds, training.batch_size) / images
    whole = exact >= WHOLE
    epochs = round(exact) if whole else math.ceil(exact)
    max_steps = None if whole else round(exact * images / training.batch_size)
    length = epochs if whole else exact
    every = max(1, round(length / STAGES))
    options = {
        "epochs": epochs,
        "max-steps": max_steps,
        "warmup-epochs": round(min(training.warmup_epochs, WARMUP * length), 3),
        "checkpoint-every": every,
        "preview-from": every,
        "preview-every": every,
    }
    typed = [f"--training.{name} {value}".split() for name, value in options.items() if value is not None]
    words = tuple(word for each in typed for word in each)
    return Planned(recipe, rate, epochs, max_steps, length * images / rate, words)


def rate_of(run: Path) -> float:
    """Return the images per second of a run, over the later half of the steps that its record tells of.

    Raises:
        UserError: it tells of none.
    """
    history = Record.of_run(run).history()
    told = [(event.step, event.data.images_per_second) for event in history.of_kind(Progress)]
    before = [0, *(step for step, _ in told)]
    late = [
        (step - begun, rate)
        for begun, (step, rate) in zip(before, told, strict=False)
        if 2 * step > history.last_step
    ]
    if not late or not all(rate > 0 for _, rate in late):
        raise UserError(f"trial {run}", "it tells no rate", "choose a smaller --training.batch-size")
    return sum(count for count, _ in late) / sum(count / rate for count, rate in late)


def training_seconds(run: Path) -> float:
    """Return what a run's training steps took, all else aside."""
    attempts = Record.of_run(run).history().attempts
    return sum(attempt.times.training for attempt in attempts if attempt.times is not None)
