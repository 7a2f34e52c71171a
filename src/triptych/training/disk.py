"""The disk that a run's checkpoints will take, told and compared with what is free before it starts."""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.names import parse
from triptych.errors import UserError
from triptych.training.clock import Clock


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


def disk_need(clock: Clock, network: nn.Module, present: Collection[str] = ()) -> DiskNeed:
    """Return what the checkpoints of a run that trains `network` will take at most, if it is not stopped.

    Args:
        clock: when they are due.
        network: what they are of.
        present: names of those that are there already. What a stop in between saved comes on top: inside an
            epoch it is removed as soon as enough newer ones are safe, at the end of one it may be kept.
    """
    config = clock.config
    every, last = config.checkpoint_every, clock.whole_epochs(clock.total_steps)
    ends_between = (
        not clock.ends_epoch(clock.total_steps) or last % every > 0
    )  # the last step is always saved
    count = last // every + ends_between + sum(not _is_due(name, clock) for name in present)
    newest = min(count, config.keep_full)
    older = kept = count - newest
    if config.keep_every is not None:
        kept = every * older // math.lcm(every, config.keep_every)
        kept = min(kept + config.keep_best, older)  # those with the lowest held-out error, if others
    averaged = config.averages * weights_size(network)
    return DiskNeed(full_size(network, config.averages), newest, averaged, kept)


def _is_due(name: str, clock: Clock) -> bool:
    """Tell whether a checkpoint is one of those that a run saves without being stopped."""
    position = parse(name)
    assert position is not None  # nothing else is a checkpoint's name
    step = clock.end_of(position.epoch) if position.step is None else position.step
    return clock.checkpoint_due(step)


def weights_size(network: nn.Module) -> int:
    """Return the bytes of a network's weights, or of an average of them."""
    return sum(tensor.nbytes for tensor in network.state_dict().values())


def full_size(network: nn.Module, averages: int) -> int:
    """Return the bytes of what trains a network: averages, weights, AdamW's two averages of each."""
    return (averages + 3) * weights_size(network)


def check_disk(need: DiskNeed, folder: Path) -> str:
    """Return what to tell of the disk before the run in `folder`, if it is there yet, goes on.

    Raises:
        UserError: the disk cannot even hold what a resume needs.
    """
    present = sum(path.stat().st_size for path in (folder / FOLDER).glob("epoch-*/*"))
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    room = present + shutil.disk_usage(place).free
    if room < min(need.full * (need.full_count + 1), need.peak):
        raise UserError(
            f"train {folder}, whose {need}",
            f"{size(room)} are free for them",
            "free some, or choose another --runs",
        )
    if room < need.peak:
        return f"{need}; only {size(room)} are free for them, and training will stop when these are used up"
    return str(need)


def size(count: int) -> str:
    """Return a number of bytes as one reads it: `572 MB`, `9.4 GB`."""
    return (
        f"{count / 1e9:.1f} GB"
        if count >= 999.5e6
        else f"{max(count, 1e5) / 1e6:.{0 if count >= 1e7 else 1}f} MB"
    )
