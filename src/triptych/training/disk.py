"""The disk that a run's checkpoints will take, told and compared with what is free before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from triptych.training.clock import Clock
from triptych.training.state import TrainState


@dataclass(frozen=True)
class DiskNeed:
    """What the checkpoints of a run will take when it has ended.

    Attributes:
        full: bytes of a checkpoint that training can go on from: averaged weights, weights, optimiser.
        full_count: the newest ones, which keep all of that.
        averaged: bytes of an older one, which keeps its averaged weights only.
        averaged_count: how many of these are kept.
    """

    full: int
    full_count: int
    averaged: int
    averaged_count: int

    @property
    def total(self) -> int:
        """Bytes at the end."""
        return self.full * self.full_count + self.averaged * self.averaged_count

    @property
    def peak(self) -> int:
        """Bytes while the last one is written, before an older one is thinned for it."""
        return self.total + self.full - (self.averaged if self.averaged_count else 0)

    def __str__(self) -> str:
        newest = f"{self.full_count} of {size(self.full)}"
        older = f" and {self.averaged_count} of {size(self.averaged)}" if self.averaged_count else ""
        return f"checkpoints will take up to {size(self.total)} of disk: {newest}{older}"


def disk_need(clock: Clock, state: TrainState) -> DiskNeed:
    """Return what the checkpoints of a run, of whose network `state` is, will take.

    Stops in between add nothing: what they save is removed when newer checkpoints are safe.
    """
    averaged = _bytes(state.ema.state_dict())
    full = averaged + 3 * _bytes(state.network.state_dict())  # AdamW keeps two averages of each weight
    config = clock.config
    last = clock.whole_epochs(clock.total_steps)
    due = [*range(config.checkpoint_every, last + 1, config.checkpoint_every)]
    if not clock.ends_epoch(clock.total_steps) or last not in due:
        due.append(last)
    newest, older = due[-config.keep_full :], due[: -config.keep_full]
    kept = len(older)
    if config.keep_every is not None:
        kept = sum(epoch % config.keep_every == 0 for epoch in older)
        kept = min(kept + 1, len(older))  # the one with the lowest held-out error stays, if not among them
    return DiskNeed(full, len(newest), averaged, kept)


def size(count: int) -> str:
    """Return a number of bytes as one reads it: `572 MB`, `9.4 GB`."""
    return (
        f"{count / 1e9:.1f} GB"
        if count >= 999.5e6
        else f"{max(count, 1e5) / 1e6:.{0 if count >= 1e7 else 1}f} MB"
    )


def _bytes(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
