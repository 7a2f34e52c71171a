"""The training loop: a step, and what is due after it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from triptych.checkpoints.prune import Retention
from triptych.data.batches import Batches
from triptych.data.dataset import Dataset
from triptych.denoiser import Denoiser
from triptych.devices import synchronize
from triptych.diffusion.objectives import Objective
from triptych.distributed import ALONE, Ranks
from triptych.errors import UserError
from triptych.precision import DTYPES
from triptych.record.environment import describe_device, versions
from triptych.record.events import (
    DIVERGED,
    Event,
    Finished,
    HeldOut,
    Payload,
    Previewed,
    Progress,
    Resumed,
    Stopped,
)
from triptych.record.record import Record
from triptych.training.clock import Clock
from triptych.training.config import TrainingConfig
from triptych.training.held_out import held_out_error
from triptych.training.loss import StepLoss
from triptych.training.previews import draw_preview
from triptych.training.resume import ResumePoint, restore_newest
from triptych.training.saving import Begun, Saver
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
        self.stopwatch = Stopwatch(self.device)
        self.state.settle(self.config)
        batches = Batches(self.dataset.train, self.config.batch_size, self.seed, self.flip)
        loss = StepLoss(self.denoiser, self.objective, self.seed, self.config.label_drop)
        self.stepper = Stepper(self.state, self.clock, batches, loss, self.ranks)
        rule = Retention(self.config.keep_full, self.config.keep_every, self.config.keep_best)
        self.saver = Saver(self.folder, rule, self.record, self.ranks)
        self._saved_step = self.state.step
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
        with self.saver:
            reason = self._train(stop)
        epoch, times = self.clock.epoch(self.state.step), self.stopwatch.sum_up(self.ranks)
        self.emit(Finished(epoch, times) if reason is None else Stopped(epoch, reason, times))
        return reason

    def _train(self, stop: Stop) -> str | None:
        """Take steps until all are taken, or until `stop` says why not, and save the last one."""
        reason = None
        while reason is None and self.state.step < self.clock.total_steps:
            reason = stop.reason
            try:
                if reason is None:
                    self.step()
                    self.on_step(self.state.step)
                    self._after_step()
                elif self._saved_step != self.state.step:
                    self._save()
            except Unsound as unsound:
                self._roll_back(unsound)
        self._note_saved(wait=True)
        return reason

    def step(self) -> None:
        """Take one optimiser step."""
        self.stepper.take()

    def _after_step(self) -> None:
        """Do what is due after a step."""
        step = self.state.step
        if not self.ranks.many or self.clock.progress_due(step):  # many would have to speak of it
            self._note_saved(wait=False)
        if self.clock.progress_due(step):
            self._report_progress()
        if self.clock.preview_due(step):
            self._preview()
        if self.clock.checkpoint_due(step):
            self._measure_held_out()
            self._save()

    def emit(self, payload: Payload, step: int | None = None) -> None:
        """Append an event of `step`, the last one by default, to the record, and tell the listeners.

        That is the first rank's work.
        """
        if not self.ranks.first:
            return
        event = self.record.append(payload, self.state.step if step is None else step, self.state.attempt)
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
        """Begin to write a checkpoint, once the one before it is safe."""
        self._note_saved(wait=True)
        name, step = self.clock.checkpoint_name(self.state.step), self.state.step
        begun = Begun(name, self.clock.epoch(step), step)
        with self.stopwatch.spent_on("checkpoints"):
            self.stepper.read()
            self.saver.begin(begun, lambda: self.state.contents(name, begun.epoch))
        self._saved_step = step

    def _note_saved(self, *, wait: bool) -> None:
        """Record the checkpoint that is being written, if it is safe by now, or else `wait` until it is."""
        with self.stopwatch.spent_on("checkpoints"):
            done = self.saver.collect(wait=wait)
        if done is not None:
            step, saved = done
            self.returned_to = None
            self.emit(saved, step)

    def _roll_back(self, unsound: Unsound) -> None:
        """Go back to the newest checkpoint, and draw anew from there on.

        Raises:
            UserError: there is none, or training went back to it before.
        """
        self._note_saved(wait=True)
        self.emit(Stopped(self.clock.epoch(self.state.step), DIVERGED, self.stopwatch.sum_up(self.ranks)))
        attempt, step = self.state.attempt + 1, self.state.step
        arrangement = self.state.layout, self.state.compiled
        point = self.ranks.lead(lambda: restore_newest(self.folder, self.state))
        if point.checkpoint in ("", self.returned_to):
            raise self._diverged(unsound, step, point.checkpoint)
        self.state.spread(self.ranks)
        # How this process computes does not change with what it computes on.
        self.state.layout, self.state.compiled = arrangement
        self.faults += 1
        self.state.attempt, self.state.salt = attempt, max(self.state.salt + 1, self.faults)
        self.state.guard.forget_rows()
        self.returned_to = point.checkpoint
        self.stepper.read_state()
        self.stopwatch = Stopwatch(self.device)
        self._saved_step = self.state.step
        self._measured_at = (self.state.step, 0.0)
        self.emit(self.resumed(point, fault=str(unsound), fault_step=step))

    def resumed(
        self,
        point: ResumePoint,
        changes: dict[str, tuple] | None = None,
        fault: str = "",
        fault_step: int | None = None,
    ) -> Resumed:
        """Return what to record of going on from `point`: by whom, with which changes, after which fault."""
        precision = self.denoiser.precision
        return Resumed(
            checkpoint=point.checkpoint,
            skipped=point.skipped,
            changes=changes or {},
            device=describe_device(self.device, self.ranks.size),
            versions=versions() | self.denoiser.backbone.computed_by(self.device, DTYPES[precision]),
            total_steps=self.clock.total_steps,
            precision=precision,
            fault=fault,
            fault_step=fault_step,
            ranks=self.ranks.size,
        )

    def _diverged(self, unsound: Unsound, step: int, checkpoint: str) -> UserError:
        """Return what to tell of training that cannot go on."""
        rate = self.clock.learning_rate(step - 1)
        again = f", again after it went back to {checkpoint}" if checkpoint else ""
        remedy = "lower --training.learning-rate under another --name"
        if unsound.spikes:
            remedy = f"raise --training.spike if such gradients are to be taken, or {remedy}"
        return UserError(
            f"train {self.folder} at step {step:,}, learning rate {rate:.2g}",
            f"{unsound}{again}",
            f"nothing of it was saved; {remedy}",
        )
