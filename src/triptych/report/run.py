"""One run as a report sees it: its folder, its history, and what is derived from both."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from triptych.errors import UserError
from triptych.record.events import Exported, HeldOut, Imported, Previewed, Progress, Started
from triptych.record.history import Attempt, History
from triptych.record.record import Record
from triptych.report import names


@dataclass(frozen=True)
class Run:
    """A run whose record is not empty."""

    folder: str
    """Relative to the folder of the report, with forward slashes."""
    history: History

    @classmethod
    def read(cls, folder: Path, report_folder: Path) -> Run:
        """Read the record of the run in `folder`; UserError where it is no run, or an empty one."""
        history = Record.of_run(folder).history()
        if not history.events:
            raise UserError(f"reporting on {folder}", "its record is empty", "train the run first")
        history.origin  # noqa: B018 - refuses a record without a start here rather than in mid-report
        relative = Path(os.path.relpath(folder.resolve(), report_folder.resolve())).as_posix()
        return cls(relative, history)

    @property
    def origin(self) -> Started | Imported:
        """What does not change about the run."""
        return self.history.origin

    @property
    def written_in(self) -> str:
        """The file that a person wrote it down in; empty for a run of this program."""
        return self.origin.written_in if isinstance(self.origin, Started) else ""

    def setting(self, *path: str, default: Any = None) -> Any:
        """Return a field of the configuration that is in force, or `default` where there is none."""
        value: Any = self.history.config
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return default if value is None else value

    def training(self, name: str, default: Any = None) -> Any:
        """Return a field of the training configuration."""
        return self.setting("training", name, default=default)

    @property
    def backbone(self) -> str:
        """Name of the network's kind."""
        kind = str(self.setting("backbone", "kind", default=self.origin.name))
        return names.BACKBONES.get(kind, kind)

    @property
    def data(self) -> str:
        """Name of the data set."""
        return names.DATA.get(self.origin.data.name, self.origin.data.name)

    @property
    def seed(self) -> int:
        """Of weights, data order and noise in training."""
        return int(self.setting("seed", default=0))

    @cached_property
    def recipe(self) -> str:
        """All that its training was set to and learnt from, as text, but for the seed.

        Nor what makes no difference: the run's name, the device, and where the images lie.
        """
        config = {k: v for k, v in self.history.config.items() if k not in ("name", "seed", "device")}
        data = {k: v for k, v in config.pop("data", {}).items() if k != "path"}
        return json.dumps([config, data, self.origin.data.digest], sort_keys=True)

    @cached_property
    def roundings(self) -> dict[str, str]:
        """What weights were rounded to in this copy of a run, and in those between, by their sha256."""
        copies = [event.data for event in self.history.events if isinstance(event.data, Exported)]
        return {copy.digest: copy.dtype for copy in copies if copy.dtype != "float32"}

    def picture(self, path: str) -> str:
        """Return the path of a picture of this run, from the report's folder on."""
        return f"{self.folder}/{path}" if self.folder != "." else path

    def epoch(self, step: int) -> float:
        """Return the epoch that `step` optimiser steps make."""
        return step / self.history.started.steps_per_epoch

    @property
    def planned_epochs(self) -> float:
        """Epochs that the run is to take in all."""
        from_steps = self.epoch(self.history.total_steps)
        epochs = float(self.training("epochs", from_steps))
        # Whole steps rarely make whole epochs: only `max_steps` ends a run earlier than by rounding.
        return epochs if abs(from_steps - epochs) * self.history.started.steps_per_epoch <= 1 else from_steps

    @property
    def epochs_done(self) -> float:
        """Epochs that the run has taken so far."""
        return self.planned_epochs if self.history.finished else self.epoch(self.history.last_step)

    @cached_property
    def _errors(self) -> dict[str, dict[int, float]]:
        events = self.history.of_kind(HeldOut)
        errors = {
            "ema": {event.step: event.data.mse for event in events},
            "ema_long": {event.step: event.data.long for event in events if event.data.long is not None},
        }
        return {
            weights: {step: error for step, error in found.items() if not math.isnan(error)}
            for weights, found in errors.items()
        }

    def mse(self, weights: str) -> dict[int, float]:
        """Return the held-out mean squared error of an average of the weights by step, NaN left out.

        Raw weights are not measured.
        """
        return self._errors.get(weights, {})

    def mse_rank(self, step: int, weights: str) -> int | None:
        """Return the place of the checkpoint at `step` by held-out error, 1 the lowest; None: unmeasured."""
        errors = self.mse(weights)
        if step not in errors:
            return None
        return 1 + sum(other < errors[step] for other in errors.values())

    def lowest(self, weights: str) -> int | None:
        """Return the step of the lowest held-out error, the earliest of equals; None: none was measured."""
        errors = self.mse(weights)
        return min(errors, key=lambda step: errors[step], default=None)

    @property
    def seconds_per_epoch(self) -> tuple[float, bool] | None:
        """Seconds of training per epoch, and whether they are approximate; None before there is anything."""
        timed = [attempt for attempt in self.history.attempts if attempt.times is not None]
        epochs = sum(self.epoch(attempt.last_step - attempt.first_step) for attempt in timed)
        if epochs > 0:
            seconds = sum(attempt.times.training for attempt in timed if attempt.times)
            return None if math.isnan(seconds) else (seconds / epochs, False)
        rates = sorted(event.data.images_per_second for event in self.history.of_kind(Progress))
        rate = rates[len(rates) // 2] if rates else 0.0
        return (self.origin.data.train_images / rate, True) if rate > 0 else None

    @property
    def seconds_per_preview(self) -> float | None:
        """Mean seconds of drawing one preview; None without any."""
        took = [event.data.took for event in self.history.of_kind(Previewed)]
        return math.fsum(took) / len(took) if took else None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every stretch of training."""
        return self.history.attempts


def display_names(runs: Sequence[Run]) -> list[str]:
    """Return a heading for each run: its backbone, and its own name where several share the backbone.

    What is alike even so, as a run and a small copy of it, is told apart by that, or else by folders.
    """
    shared = Counter(run.backbone for run in runs)
    own = [
        run.backbone if shared[run.backbone] == 1 else f"{run.backbone}, {run.origin.name}" for run in runs
    ]
    alike = Counter(own)
    names = [
        f"{name} (copy)" if alike[name] > 1 and run.history.exported else name
        for name, run in zip(own, runs, strict=True)
    ]
    alike = Counter(names)
    return [
        name if alike[name] == 1 else f"{name}, {run.folder}" for name, run in zip(names, runs, strict=True)
    ]


def trained_once(runs: Sequence[tuple[str, Run]]) -> list[tuple[str, Run]]:
    """Return named runs, and of a run and its copies the first alone."""
    first: dict[str, tuple[str, Run]] = {}
    for name, run in runs:
        first.setdefault(repr(run.history.events[0]), (name, run))
    return list(first.values())


def distinct(values: Iterable[str]) -> list[str]:
    """Return the values without repeats, in the order of their first appearance."""
    return list(dict.fromkeys(values))
