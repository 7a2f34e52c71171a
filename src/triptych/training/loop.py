"""The training loop: a step, and what is due after it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from triptych.allocator import keep_freed_memory
from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.prune import Retention, prune
from triptych.checkpoints.write import NonFiniteWeights, write
from triptych.data.batches import Batches
from triptych.data.dataset import Dataset
from triptych.denoiser import Denoiser
from triptych.devices import synchronize
from triptych.diffusion.objectives import Objective
from triptych.distributed import ALONE, Ranks
from triptych.errors import UserError
from triptych.evaluation.selection import best_checkpoints
from triptych.record.environment import describe_device, versions
from triptych.record.events import (
    DIVERGED,
    Evaluated,
    Event,
    Finished,
    HeldOut,
    Payload,
    Previewed,
    Progress,
    Resumed,
    Saved,
    Stopped,
)
from triptych.record.record import Record
from triptych.training.clock import Clock
from triptych.training.config import TrainingConfig
from triptych.training.held_out import held_out_error
from triptych.training.loss import StepLoss
from triptych.training.previews import draw_preview
from triptych.training.resume import restore_newest
from triptych.training.state import AVERAGES, Measured, TrainState
from triptych.training.step import Stepper, Unsound
from triptych.training.stop import Stop
from triptych.training.stopwatch import Stopwatch

Listener = Callable[[Event], None]


@dataclass
class Training:
    """A run in training: its parts, and the order in which they act.

    Attributes:
        folder: of the run.
        config: all that a recipe sets about training.
        denoiser: schedule and prediction around the network in training.
        objective: the loss.
        dataset: with its training split on the device.
        state: all that a resume needs.
        seed: of the run.
        flip: whether images are mirrored at random.
        record: where events go.
        ranks: the processes that train it; the first one alone writes.
        faults: how often training went astray before, as the record tells.
        returned_to: the checkpoint that it went back to, if nothing was saved since.
        listeners: who else hears of every event.
        on_step: called after every step with the steps taken, for a progress bar.
    """

    folder: Path
    config: TrainingConfig
    denoiser: Denoiser
    objective: Objective
    dataset: Dataset
    state: TrainState
    seed: int
    flip: bool
    record: Record
    ranks: Ranks = ALONE
    faults: int = 0
    returned_to: str | None = None
    listeners: list[Listener] = field(default_factory=list)
    on_step: Callable[[int], None] = lambda step: None

    def __post_init__(self) -> None:
        self.clock = Clock(self.config, len(self.dataset.train))
        self.device = self.dataset.train.images.device
        self.stopwatch = Stopwatch()
        if self.device.type == "cpu":
            torch.set_num_threads(self.state.threads)
            keep_freed_memory()
        batches = Batches(self.dataset.train, self.config.batch_size, self.seed, self.flip)
        loss = StepLoss(self.denoiser, self.objective, self.seed, self.config.label_drop)
        self.stepper = Stepper(self.state, self.clock, batches, loss, self.ranks)
        self._measured_at = (self.state.step, 0.0)
        # A rollback that was cut short before anything was saved is not forgotten.
        self.state.salt = max(self.state.salt, self.faults)

    def averaged(self, weights: str = AVERAGES[0]) -> Denoiser:
        """Return the model with averaged weights, to draw and to measure with."""
        return Denoiser(self.state.averages[weights], self.denoiser.schedule, self.denoiser.prediction)

    def run(self, stop: Stop) -> str | None:
        """Train to the last step; return None, or the reason why it stopped before, after saving.

        Raises:
            UserError: training went astray, and again after a rollback.
        """
        saved = self.state.step
        while self.state.step < self.clock.total_steps:
            reason = stop.reason
            try:
                if reason is None:
                    self.step()
                    self.on_step(self.state.step)
                    if self._after_step():
                        saved = self.state.step
                elif saved != self.state.step:
                    self._save()
            except Unsound as unsound:
                self._roll_back(unsound)
                saved = self.state.step
            if reason is not None:
                self.emit(Stopped(self.clock.epoch(self.state.step), reason, self.stopwatch.times()))
                return reason
        self.emit(Finished(self.clock.epoch(self.state.step), self.stopwatch.times()))
        return None

    def step(self) -> None:
        """Take one optimiser step."""
        self.stepper.take()

    def _after_step(self) -> bool:
        """Do what is due after a step; return whether a checkpoint was saved."""
        step = self.state.step
        if self.clock.progress_due(step):
            self._report_progress()
        if self.clock.preview_due(step):
            self._preview()
        due = self.clock.checkpoint_due(step)
        if due:
            self._measure_held_out()
            self._save()
        return due

    def emit(self, payload: Payload) -> None:
        """Append an event to the record, and tell the listeners; the first rank's work."""
        if not self.ranks.first:
            return
        event = self.record.append(payload, self.state.step, self.state.attempt)
        for listener in self.listeners:
            listener(event)

    def _report_progress(self) -> None:
        synchronize(self.device)
        running = self.stepper.read()
        if running.finite == 0:  # fp16 is still looking for its scale, or every step was masked
            return
        step, seconds = self._measured_at
        self._measured_at = (self.state.step, self.stopwatch.training)
        images = (self.state.step - step) * self.config.batch_size
        self.emit(
            Progress(
                epoch=self.clock.epoch(self.state.step),
                loss=running.loss / running.finite,
                gradient_norm=running.gradient_norm / running.finite,
                learning_rate=self.clock.learning_rate(self.state.step - 1),
                images_per_second=images / max(self._measured_at[1] - seconds, 1e-9),
                not_finite=running.not_finite,
                spikes=running.spikes,
                overflows=running.overflows,
            )
        )
        self.stepper.reset()

    def _preview(self) -> None:
        epoch = self.clock.epoch(self.state.step)
        with self.stopwatch.spent_on("previews"):
            sampler = self.config.sampler()
            path = self.folder / "previews" / f"{self.clock.checkpoint_name(self.state.step)}.png"
            took = draw_preview(
                self.averaged(), self.config, self.seed, self.dataset.class_names, path, self.ranks
            )
        guidance = self.config.preview_guidance if self.denoiser.backbone.classes else 0.0
        picture = path.relative_to(self.folder).as_posix()
        self.emit(Previewed(epoch, picture, sampler.label, guidance, self.config.preview_count, took))

    def _measure_held_out(self) -> None:
        """Measure the averages, and note which checkpoint and which of them has the lowest error yet."""
        epoch = self.clock.epoch(self.state.step)
        before = self.stopwatch.times().held_out
        count, batch_size = self.config.held_out_count, self.config.batch_size
        batch_size = min(batch_size, self.config.microbatch or batch_size)
        with self.stopwatch.spent_on("held_out"):
            errors = {
                name: held_out_error(
                    self.averaged(name), self.dataset.held_out, count, batch_size, self.device, self.ranks
                )
                for name in self.state.averages
            }
        if not all(math.isfinite(error.mse) for error in errors.values()):
            raise Unsound("the held-out error is not finite")
        weights = min(errors, key=lambda name: errors[name].mse)
        name = self.clock.checkpoint_name(self.state.step)
        measured = Measured(epoch, name, errors[weights].mse, weights)
        best = measured.mse < min((b.mse for b in self.state.best), default=math.inf)
        self.state.held_out.append(measured)
        if best:
            self.state.best.append(measured)
        took = self.stopwatch.times().held_out - before
        first = errors[AVERAGES[0]]
        long = errors[AVERAGES[1]].mse if AVERAGES[1] in errors else None
        self.emit(HeldOut(epoch, first.mse, best, took, first.by_time, long))

    def _save(self) -> None:
        name, epoch = self.clock.checkpoint_name(self.state.step), self.clock.epoch(self.state.step)
        before = self.stopwatch.times().checkpoints
        with self.stopwatch.spent_on("checkpoints"):
            self.stepper.read()
            size, pruned, broken = self.ranks.lead(lambda: self._write(name, epoch))
        if broken:
            raise Unsound(broken)
        took = self.stopwatch.times().checkpoints - before
        self.returned_to = None
        self.emit(Saved(epoch, name, size, took, pruned))

    def _write(self, name: str, epoch: float) -> tuple[int, tuple[str, ...], str]:
        """Write a checkpoint and prune the older ones; return its size, their names, or what forbids it."""
        root = self.folder / FOLDER
        try:
            folder = write(root, name, self.state.contents(name, epoch))
        except NonFiniteWeights as error:
            return 0, (), str(error)
        rule = Retention(self.config.keep_full, self.config.keep_every, self.config.keep_best)
        rows = [event.data for event in self.record.history().of_kind(Evaluated)]
        pruned = prune(root, rule, best_checkpoints(rows))
        return folder_size(folder), (*pruned.removed, *pruned.thinned), ""

    def _roll_back(self, unsound: Unsound) -> None:
        """Go back to the newest checkpoint, and draw anew from there on.

        Raises:
            UserError: there is none, or training went back to it before.
        """
        self.emit(Stopped(self.clock.epoch(self.state.step), DIVERGED, self.stopwatch.times()))
        attempt, step = self.state.attempt + 1, self.state.step
        point = self.ranks.lead(lambda: restore_newest(self.folder, self.state))
        if point.checkpoint in ("", self.returned_to):
            raise self._diverged(unsound, step, point.checkpoint)
        self.state.spread(self.ranks)
        self.faults += 1
        self.state.attempt, self.state.salt = attempt, max(self.state.salt + 1, self.faults)
        self.state.guard.forget_rows()
        self.returned_to = point.checkpoint
        self.stepper.read_state()
        self.stopwatch = Stopwatch()
        self._measured_at = (self.state.step, 0.0)
        total = self.clock.total_steps
        hardware, precision = describe_device(self.device, self.ranks.size), self.denoiser.precision
        self.emit(
            Resumed(
                checkpoint=point.checkpoint,
                skipped=point.skipped,
                changes={},
                device=hardware,
                versions=versions(),
                total_steps=total,
                precision=precision,
                fault=str(unsound),
                fault_step=step,
                ranks=self.ranks.size,
            )
        )

    def _diverged(self, unsound: Unsound, step: int, checkpoint: str) -> UserError:
        """Return what to tell of training that cannot go on."""
        rate = self.clock.learning_rate(step - 1)
        again = f", again after it went back to {checkpoint}" if checkpoint else ""
        return UserError(
            f"train {self.folder} at step {step:,}, learning rate {rate:.2g}",
            f"{unsound}{again}",
            "nothing of it was saved; lower --training.learning-rate under another --name",
        )


def folder_size(folder: Path) -> int:
    """Return the bytes of the files in a checkpoint's folder."""
    return sum(path.stat().st_size for path in folder.iterdir())
