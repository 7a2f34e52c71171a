"""Where training stands, derived from the number of steps taken and from nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

from triptych.training.config import TrainingConfig

POINTS = 100
"""Training figures that a run of few epochs records, about."""
LEAST_STEPS = 20
"""Steps that such a figure is the mean of, at least."""


@dataclass(frozen=True)
class Clock:
    """Steps, epochs and what is due when, for `images` training images.

    Batches cross the ends of epochs: an epoch ends with the step in which its last image is seen.
    """

    config: TrainingConfig
    images: int

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        steps = self.end_of(self.config.epochs)
        return steps if self.config.max_steps is None else min(steps, self.config.max_steps)

    def end_of(self, epoch: int) -> int:
        """Return the number of steps taken when epoch number `epoch`, from 1, has ended."""
        return -(-epoch * self.images // self.config.batch_size)

    def epoch(self, step: int) -> float:
        """Return the epochs that lie behind after `step` steps, whole at the steps that end one."""
        whole = self.whole_epochs(step)
        return float(whole) if self.ends_epoch(step) else step * self.config.batch_size / self.images

    def whole_epochs(self, step: int) -> int:
        """Return the number of epochs that have ended after `step` steps."""
        return step * self.config.batch_size // self.images

    def ends_epoch(self, step: int) -> bool:
        """Whether the step that was just taken, number `step` from 1, ended an epoch."""
        return step > 0 and self.whole_epochs(step) > self.whole_epochs(step - 1)

    def progress_due(self, step: int) -> bool:
        """Whether training figures are recorded after `step` steps: after each epoch, and within long ones.

        A curve of three or four points shows nothing, so a run of few long epochs gets about a hundred.
        """
        every = max(LEAST_STEPS, -(-self.total_steps // POINTS))
        within = 2 * every * self.config.batch_size <= self.images and step % every == 0
        return step > 0 and (within or self.ends_epoch(step) or step == self.total_steps)

    def checkpoint_due(self, step: int) -> bool:
        """Whether a checkpoint is written after `step` steps."""
        return step >= self.total_steps or self._passed_multiple(step, 0, self.config.checkpoint_every)

    def preview_due(self, step: int) -> bool:
        """Whether a preview is drawn after `step` steps."""
        every, start = self.config.preview_every, self.config.preview_from
        return every > 0 and self.whole_epochs(step) >= start and self._passed_multiple(step, start, every)

    def _passed_multiple(self, step: int, start: int, every: int) -> bool:
        """Whether the step passed the end of an epoch that is `start` plus a multiple of `every`."""
        if step < 1:
            return False
        now, before = self.whole_epochs(step), self.whole_epochs(step - 1)
        return (now - start) // every > (before - start) // every

    def checkpoint_name(self, step: int) -> str:
        """Return the folder name of a checkpoint after `step` steps."""
        name = f"epoch-{self.whole_epochs(step):05d}"
        return name if self.ends_epoch(step) else f"{name}-step-{step:08d}"

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of the step that follows `step` others.

        Linear warm-up, reaching the peak in its last step, then half a cosine to zero
        (arXiv 1608.03983, equation 5, without restarts), or the peak, at the end with a linear
        decay to zero (warmup-stable-decay, arXiv 2404.06395, linear as in 2405.18392) or without.
        """
        peak, schedule = self.config.learning_rate, self.config.learning_rate_schedule
        warmup = round(self.config.warmup_epochs * self.images / self.config.batch_size)
        rising = peak * (step + 1) / warmup if step < warmup else peak
        if schedule == "wsd":
            left = (self.total_steps - step) / max(1, round(self.config.decay * self.total_steps))
            return min(rising, peak * max(0.0, left))
        if step < warmup or schedule == "constant":
            return rising
        done = (step - warmup) / max(1, self.total_steps - warmup)
        return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
