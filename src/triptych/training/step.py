"""One optimiser step, on one rank or many: the part of training that must be fast."""

from __future__ import annotations

import inspect
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from triptych.data.batches import Batches
from triptych.devices import precise_dtype
from triptych.distributed import ALONE, Ranks
from triptych.training.clock import Clock
from triptych.training.ema import ema_decay, update_ema
from triptych.training.guard import MOST_OVERFLOWS
from triptych.training.loss import StepLoss
from triptych.training.state import AVERAGES, Running, TrainState


class Unsound(ArithmeticError):  # noqa: N818
    """Training went astray: what it holds now must not be saved.

    Args:
        reason: in words.
        spikes: whether gradients far above the usual norm are part of it, which may have been sound.
    """

    def __init__(self, reason: str, *, spikes: bool = False):
        super().__init__(reason)
        self.spikes = spikes


class Stepper:
    """What takes the steps of a run.

    A step's mean loss is over the global batch, however it is split: each rank computes its share of it,
    in pieces of at most `microbatch` images, and every image weighs as much as any other.

    Args:
        state: what the steps change.
        clock: when which learning rate is due, and of what configuration.
        batches: images by step.
        loss: of each image.
        ranks: who computes which.
    """

    def __init__(
        self, state: TrainState, clock: Clock, batches: Batches, loss: StepLoss, ranks: Ranks = ALONE
    ):
        self.state, self.clock, self.config = state, clock, clock.config
        self.batches, self.ranks = batches, ranks
        self.parameters = list(state.network.parameters())
        self.device = self.parameters[0].device
        self.loss: nn.Module = loss
        if ranks.many:
            self.loss = spread(loss)
        self.read_state()

    def read_state(self) -> None:
        """Begin to sum up loss and gradient norm where the state says that they were."""
        # They are summed on the device: reading each would stall it in every step.
        running = self.state.running
        sums = [running.loss, running.gradient_norm, running.finite]
        self._sums = torch.tensor(sums, dtype=precise_dtype(self.device), device=self.device)

    def pieces(self) -> list[range]:
        """Return the places of the global batch that this rank computes, in pieces that fit its memory."""
        share = self.ranks.share(self.config.batch_size)
        size = self.config.microbatch or len(share)
        return [share[start : start + size] for start in range(0, len(share), size)]

    def take(self) -> None:
        """Take one step."""
        state = self.state
        self.loss.train()
        state.optimizer.zero_grad(set_to_none=True)
        loss = self._backward()
        state.scaler.unscale_(state.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm or float("inf"))
        masked = state.guard.judge(loss, norm, half=state.scaler.is_enabled())
        for group in state.optimizer.param_groups:
            group["lr"] = self.clock.learning_rate(state.step)
        if self.device.type != "mps":
            # What fused optimisers offer to gradient scalers: a step that the device itself leaves out.
            state.optimizer.found_inf = masked.float()  # ty: ignore[missing-attribute]
            state.optimizer.step()
        elif not masked:  # there the fused optimiser knows of no such thing, and the host has to ask
            state.optimizer.step()
        state.scaler.update()
        state.step += 1
        self._average(masked)
        found = torch.stack([loss, norm, torch.ones_like(norm)])
        self._sums += torch.where(masked, 0.0, found)
        state.running.steps += 1

    def _backward(self) -> Tensor:
        """Leave the gradient of the step's mean loss in the parameters; return that loss, []."""
        state, size = self.state, self.config.batch_size
        progress = state.step / self.clock.total_steps
        total = torch.zeros((), device=self.device)
        pieces = self.pieces()
        for piece in pieces:
            with self._apart(piece is not pieces[-1]):
                batch = self.batches.at(state.step, state.salt, piece)
                losses = self.loss(batch, step=state.step, salt=state.salt, progress=progress)
                loss = losses.sum() / size
                # Gradients are averaged over the ranks; what is wanted is their sum.
                state.scaler.scale(loss * self.ranks.size).backward()
            total = total + loss.detach()
        return self.ranks.sum(total)

    def _apart(self, more: bool) -> AbstractContextManager[None]:
        """Return a context in which gradients stay on their rank, where `more` of the step's are to come."""
        if more and isinstance(self.loss, DistributedDataParallel):
            return self.loss.no_sync()
        return nullcontext()

    def _average(self, masked: Tensor) -> None:
        """Move the averages towards the weights."""
        state, config = self.state, self.config
        seen = state.step * config.batch_size
        for name, slower in zip(AVERAGES, (1.0, config.ema_long), strict=True):
            if name in state.averages:
                warmup = min(1.0, slower * config.ema_warmup)
                decay = ema_decay(seen, config.batch_size, slower * config.ema_half_life, warmup)
                update_ema(state.averages[name], state.network, decay, masked)

    def read(self) -> Running:
        """Bring what was summed up to the host, which waits for the device; return the state's sums.

        Raises:
            Unsound: too many steps in a row had to be masked.
        """
        running = self.state.running
        loss, gradient_norm, finite = self._sums.tolist()
        running.loss, running.gradient_norm, running.finite = loss, gradient_norm, int(finite)
        masked = self.state.guard.read()
        running.not_finite += masked.not_finite
        running.spikes += masked.spikes
        running.overflows += masked.overflows
        kinds = {"a loss or gradient that was not finite": masked.not_finite}
        kinds |= {f"a gradient of more than {self.config.spike:g} times the usual norm": masked.spikes}
        what = ", or ".join(kind for kind, count in kinds.items() if count)
        if what and masked.longest >= self.config.patience:
            raise Unsound(f"{masked.longest} steps in a row had {what}", spikes=masked.spikes > 0)
        if masked.longest_overflow >= MOST_OVERFLOWS:
            raise Unsound(f"{masked.longest_overflow} steps in a row were not finite in fp16")
        return running

    def reset(self) -> None:
        """Begin the sums anew, once they were reported."""
        self.state.running = Running()
        self._sums.zero_()


def spread(loss: nn.Module) -> DistributedDataParallel:
    """Return `loss` as one of those of all ranks, whose gradients are averaged in the backward pass."""
    # A weight with sides of length 1, such as [1, 1, 3, 3], can have several strides for the same bytes.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # Buffers never change; what leaves them alone was renamed in torch 2.13.
    known = inspect.signature(DistributedDataParallel).parameters
    alone = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {alone: False}
    return DistributedDataParallel(loss, gradient_as_bucket_view=True, **options)
