"""Experiments that other programs made, as figures that a person wrote down: what can be said of one.

What is not said is left out of the record, and so of every report: nothing is made up for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from triptych.errors import UserError
from triptych.recipe_files import NAME
from triptych.record.figures import Device

MOST_EPOCHS = 1e9
"""More is a typing error."""
NEVER_NEGATIVE = frozenset({"fid", "fd_dinov2", "fd_classifier", "inception_score", "lpips_diversity"})
"""Metrics that are never below 0."""
DATES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d")


@dataclass(frozen=True)
class Images:
    """What it was trained on."""

    name: str
    image_size: int
    train_images: int
    channels: int = 3
    held_out_images: int = 0
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """How it was trained, by the names that recipes use."""

    epochs: float
    batch_size: int
    workers: int | None = None
    learning_rate: float | None = None
    learning_rate_schedule: str | None = None
    warmup_epochs: float | None = None
    checkpoint_every: int | None = None
    preview_from: int | None = None
    preview_every: int | None = None
    preview_count: int | None = None
    preview_guidance: float | None = None
    preview_sampler: str | None = None


@dataclass(frozen=True)
class Part:
    """A stretch of training, from a start or a resume on."""

    epochs: float
    """How many it added."""
    took: float
    """Seconds, or a text such as `36h 49m 25.9s`."""
    approximate: bool = False
    device: Device | None = None
    """None: the experiment's."""


@dataclass(frozen=True)
class Drawn:
    """Pictures that were drawn from it."""

    sampler: str
    took: float | None = None
    guidance: float | None = None
    """None: nobody wrote it down."""
    count: int | None = None
    per_class: int | None = None
    """Instead of `count`: of every class."""
    epoch: float | None = None
    """Of the checkpoint; None: the last."""
    grid: str = ""
    """Path of a picture, from the file's folder on."""
    gif: str | None = None
    device: Device | None = None


@dataclass(frozen=True)
class Measured:
    """A figure: in the file, also the number alone."""

    estimate: float
    spread: float | None = None
    """Its standard error."""
    split_std: float | None = None
    """Its deviation over splits, as an Inception Score has one."""
    real: float | None = None
    """The same of real images."""


@dataclass(frozen=True)
class Row:
    """Figures of one checkpoint at one setting."""

    figures: dict[str, Measured]
    """By the names that `--metrics` uses: fid, inception_score, lpips_diversity, ..."""
    guidance: float | None = None
    """None: nobody wrote it down."""
    epoch: float | None = None
    """Of the checkpoint; None: the last, or with `lowest_mse` one that nobody wrote down."""
    lowest_mse: bool = False
    """Whether the checkpoint was the one with the lowest held-out error."""
    sampler: str = ""
    took: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """What its images were measured with."""

    reference: str
    """The real images, by name and split: cifar10/test."""
    reference_count: int
    count: int
    """Generated images of each row."""
    rows: tuple[Row, ...]
    batch_size: int = 0
    device: Device | None = None


@dataclass(frozen=True)
class Transcript:
    """One experiment."""

    name: str
    backbone: str
    """unet, dit, dim, or what else it is to be called."""
    conditional: bool
    data: Images
    training: Training
    device: Device
    parts: tuple[Part, ...]
    date: str
    """When it ended: 2025-12-22 10:35:00."""
    parameters: int = 0
    seconds_per_epoch: float | None = None
    seconds_per_preview: float | None = None
    samples: tuple[Drawn, ...] = ()
    evaluation: Evaluation | None = None
    file: str = ""
    """Name of the file that it was read from."""
    digest: str = ""
    """sha256 of that file."""

    def __post_init__(self) -> None:
        """Raise `UserError` where figures contradict each other or cannot be."""
        if not NAME.fullmatch(self.name):
            raise self._wrong("no name for a run's folder", "use up to 100 letters, digits, dots, - and _")
        for what, number in (
            ("batch-size", self.training.batch_size),
            ("train-images", self.data.train_images),
            ("image-size", self.data.image_size),
            ("number of parts", len(self.parts)),
        ):
            if number < 1:
                raise self._wrong(f"its {what} is {number}", "give 1 or more")
        self._check_numbers(asdict(self), "")
        self._check_parts()
        for drawn in self.samples:
            self._check_epoch(drawn.epoch)
            if (drawn.count is None) == (drawn.per_class is None):
                raise self._wrong("samples need one of count and per-class", "give one of them")
        for row in self.evaluation.rows if self.evaluation else ():
            self._check_row(row)
        self.ended  # noqa: B018 - refuses a date that is none

    def _check_numbers(self, value: Any, where: str) -> None:
        """Refuse numbers that cannot be: none is infinite, and only a metric's value is ever below 0."""
        if isinstance(value, dict | list | tuple):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            for name, item in inner:
                self._check_numbers(item, f"{where} {name}".strip())
        elif isinstance(value, int | float):
            signed = where.endswith(("estimate", "real"))
            if not math.isfinite(value) or (value < 0 and not signed):
                raise self._wrong(f"{where.replace('_', '-')} is {value:g}", "mend it")

    def _check_parts(self) -> None:
        planned, added = self.training.epochs, math.fsum(part.epochs for part in self.parts)
        for part in self.parts:
            if not 0 < part.epochs <= MOST_EPOCHS:
                raise self._wrong(f"a part has {part.epochs:g} epochs", "give how many it added")
        if not math.isclose(planned, added):
            found = f"its parts have {added:g} epochs, its training {planned:g}"
            raise self._wrong(found, "mend one of them")
        for device in (self.device, *(part.device for part in self.parts if part.device)):
            if not 1 <= device.used <= device.present:
                found = f"{device.used} of {device.present} {device.name} are used"
                raise self._wrong(found, "mend used or present")

    def _check_epoch(self, epoch: float | None) -> None:
        if epoch is not None and epoch > self.training.epochs:
            raise self._wrong(f"epoch {epoch:g} of {self.training.epochs:g}", "mend the epoch")

    def _check_row(self, row: Row) -> None:
        self._check_epoch(row.epoch)
        if not row.figures:
            raise self._wrong("an evaluated row has no figures", "give one, or leave the row out")
        for metric, figure in row.figures.items():
            if metric in NEVER_NEGATIVE and figure.estimate < 0:
                raise self._wrong(f"{metric} {figure.estimate:g} is below 0", "mend it")

    def _wrong(self, found: str, remedy: str) -> UserError:
        return UserError(f"experiment {self.name[:40]}", found, remedy)

    @property
    def ended(self) -> float:
        """When it ended, as a Unix time; the date is taken to be UTC."""
        for form in DATES:
            try:
                return datetime.strptime(self.date, form).replace(tzinfo=UTC).timestamp()
            except ValueError:
                continue
        raise self._wrong(f"{self.date!r} is no date", "write it like 2025-12-22 10:35:00")

    def step(self, epoch: float | None) -> int:
        """Return the optimiser steps taken at an epoch; None: at the last."""
        epoch = self.training.epochs if epoch is None else epoch
        return round(epoch * self.data.train_images / self.training.batch_size)

    def with_pictures(self, moved: Callable[[str], str]) -> Transcript:
        """Return it with the paths of its pictures as `moved` has them."""
        samples = [
            replace(
                drawn,
                grid=moved(drawn.grid) if drawn.grid else "",
                gif=moved(drawn.gif) if drawn.gif else None,
            )
            for drawn in self.samples
        ]
        return replace(self, samples=tuple(samples))
