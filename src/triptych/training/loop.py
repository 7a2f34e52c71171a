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
from triptych.devices import precise_dtype, synchronize
from triptych.diffusion.objectives import Objective
from triptych.errors import UserError
from triptych.record.events import Event, Finished, HeldOut, Payload, Previewed, Progress, Saved, Stopped
from triptych.record.record import Record
from triptych.training.clock import Clock
from triptych.training.config import TrainingConfig
from triptych.training.ema import ema_decay, update_ema
from triptych.training.held_out import held_out_error
from triptych.training.loss import batch_loss
from triptych.training.previews import draw_preview
from triptych.training.state import Best, Running, TrainState
from triptych.training.stop import StopRequest
from triptych.training.stopwatch import Stopwatch

Listener = Callable[[Event], None]

MOST_OVERFLOWS = 100
"""Steps without a finite one among them after which fp16 is not merely looking for its scale."""


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
    listeners: list[Listener] = field(default_factory=list)
    on_step: Callable[[int], None] = lambda step: None

    def __post_init__(self) -> None:
        self.clock = Clock(self.config, len(self.dataset.train))
        self.batches = Batches(self.dataset.train, self.config.batch_size, self.seed, self.flip)
        self.device = self.dataset.train.images.device
        self.ema_denoiser = Denoiser(self.state.ema, self.denoiser.schedule, self.denoiser.prediction)
        self.stopwatch = Stopwatch()
        if self.device.type == "cpu":
            torch.set_num_threads(self.state.threads)
            keep_freed_memory()
        # Loss and gradient norm are summed on the device: reading each would stall it in every step.
        running = self.state.running
        sums = [running.loss, running.gradient_norm, running.finite]
        self._sums = torch.tensor(sums, dtype=precise_dtype(self.device), device=self.device)
        self._measured_at = (self.state.step, 0.0)

    def run(self, stop: StopRequest) -> str | None:
        """Train to the last step; return None, or the reason why it stopped before, after saving."""
        saved = self.state.step
        while self.state.step < self.clock.total_steps:
            if (reason := stop.reason) is not None:
                if saved != self.state.step:
                    self._save()
                self.emit(Stopped(self.clock.epoch(self.state.step), reason, self.stopwatch.times()))
                return reason
            self.step()
            self.on_step(self.state.step)
            if self._after_step():
                saved = self.state.step
        self.emit(Finished(self.clock.epoch(self.state.step), self.stopwatch.times()))
        return None

    def step(self) -> None:
        """Take one optimiser step."""
        state, config = self.state, self.config
        self.denoiser.train()
        loss = batch_loss(
            self.denoiser,
            self.objective,
            self.batches.at(state.step, state.salt),
            seed=self.seed,
            salt=state.salt,
            step=state.step,
            label_drop=config.label_drop,
            progress=state.step / self.clock.total_steps,
        )
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()
        state.scaler.unscale_(state.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.clip_norm or float("inf"))
        for group in state.optimizer.param_groups:
            group["lr"] = self.clock.learning_rate(state.step)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.step += 1
        seen = state.step * config.batch_size
        decay = ema_decay(seen, config.batch_size, config.ema_half_life, config.ema_warmup)
        update_ema(state.ema, state.network, decay)
        found = torch.stack([loss.detach(), norm, torch.ones_like(norm)])
        if state.scaler.is_enabled():  # where fp16 overflowed the step was left out, as is normal
            found = torch.where(found.isfinite().all(), found, 0.0)
        self._sums += found.to(self._sums.dtype)
        state.running.steps += 1

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
        """Append an event to the record, and tell the listeners."""
        event = self.record.append(payload, self.state.step, self.state.attempt)
        for listener in self.listeners:
            listener(event)

    def _report_progress(self) -> None:
        synchronize(self.device)
        running = self._read_running()
        if running.finite == 0:  # fp16 is still looking for its scale
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
            )
        )
        self.state.running = Running()
        self._sums.zero_()

    def _read_running(self) -> Running:
        """Bring the sums of loss and gradient norm to the host; stop where they are not finite."""
        running = self.state.running
        loss, gradient_norm, finite = self._sums.tolist()
        overflowing = finite == 0 and running.steps >= MOST_OVERFLOWS
        if overflowing or not math.isfinite(loss + gradient_norm):
            raise self._diverged("the loss or its gradient is no longer finite")
        running.loss, running.gradient_norm, running.finite = loss, gradient_norm, int(finite)
        return running

    def _preview(self) -> None:
        epoch = self.clock.epoch(self.state.step)
        with self.stopwatch.spent_on("previews"):
            sampler = self.config.sampler()
            path = self.folder / "previews" / f"{self.clock.checkpoint_name(self.state.step)}.png"
            took = draw_preview(self.ema_denoiser, self.config, self.seed, self.dataset.class_names, path)
        guidance = self.config.preview_guidance if self.denoiser.backbone.classes else 0.0
        picture = path.relative_to(self.folder).as_posix()
        self.emit(Previewed(epoch, picture, sampler.label, guidance, self.config.preview_count, took))

    def _measure_held_out(self) -> None:
        epoch = self.clock.epoch(self.state.step)
        before = self.stopwatch.times().held_out
        with self.stopwatch.spent_on("held_out"):
            error = held_out_error(
                self.ema_denoiser,
                self.dataset.held_out,
                self.config.held_out_count,
                self.config.batch_size,
                self.device,
            )
        best = error.mse < min((b.mse for b in self.state.best), default=math.inf)
        if best:
            name = self.clock.checkpoint_name(self.state.step)
            self.state.best.append(Best(epoch, name, error.mse))
        took = self.stopwatch.times().held_out - before
        self.emit(HeldOut(epoch, error.mse, best, took, error.by_time))

    def _save(self) -> None:
        name, epoch = self.clock.checkpoint_name(self.state.step), self.clock.epoch(self.state.step)
        before = self.stopwatch.times().checkpoints
        with self.stopwatch.spent_on("checkpoints"):
            self._read_running()
            root = self.folder / FOLDER
            try:
                folder = write(root, name, self.state.contents(name, epoch))
            except NonFiniteWeights as error:
                raise self._diverged(str(error)) from error
            size = folder_size(folder)
            pruned = prune(root, Retention(self.config.keep_full, self.config.keep_every))
        took = self.stopwatch.times().checkpoints - before
        self.emit(Saved(epoch, name, size, took, (*pruned.removed, *pruned.thinned)))

    def _diverged(self, found: str) -> UserError:
        """Note in the record that training went astray, and return what to tell of it."""
        self.emit(Stopped(self.clock.epoch(self.state.step), "diverged", self.stopwatch.times()))
        rate = self.clock.learning_rate(self.state.step - 1)
        return UserError(
            f"train {self.folder} at step {self.state.step}, learning rate {rate:.2g}",
            found,
            "nothing of it was saved; lower --training.learning-rate under another --name",
        )


def folder_size(folder: Path) -> int:
    """Return the bytes of the files in a checkpoint's folder."""
    return sum(path.stat().st_size for path in folder.iterdir())
