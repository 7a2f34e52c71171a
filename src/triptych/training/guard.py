"""Telling sound steps from unsound ones on the device, before the optimiser takes them.

A loss or gradient that is not finite, or a gradient whose norm is far above the usual one, would undo hours
in one step. Such a step is masked: weights, optimiser and averages stay as they were. Everything is decided
in tensors, so that no step waits for the host, which reads the counters when figures are reported.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

WINDOW = 128
"""Norms of accepted gradients that the running median is of."""

LEAST_NORMS = 32
"""Norms before which none is called a spike: at the start they grow many times over, as they should."""

MOST_OVERFLOWS = 100
"""Steps in a row after which fp16 is not merely looking for its scale."""


class Masked(NamedTuple):
    """Steps that were masked since they were last read, by reason."""

    not_finite: int
    spikes: int
    overflows: int
    """Of fp16, which looks for the scale of its loss that way: normal, and no sign of trouble."""
    longest: int
    """Most unsound steps in a row, of rows that grew since; overflows do not count."""
    longest_overflow: int
    """Most overflows in a row."""


class Guard:
    """The running median of the gradient's norm, and counters of what was masked.

    Args:
        device: where losses and norms are.
        spike: how many times the median a norm may be; 0: any.
    """

    def __init__(self, device: torch.device | str, spike: float):
        self.spike = spike
        self.norms = torch.full((WINDOW,), torch.nan, device=device)
        self.accepted = torch.zeros((), dtype=torch.int64, device=device)
        """Steps that were not masked, so far."""
        self.streaks = torch.zeros(2, dtype=torch.int64, device=device)
        """Unsound steps in a row, up to now, and overflows in a row."""
        self.longest = torch.zeros(2, dtype=torch.int64, device=device)
        """The longest of these since the counters were read."""
        self.counts = torch.zeros(3, dtype=torch.int64, device=device)
        """Not finite, spikes, overflows since the counters were read."""

    def judge(self, loss: Tensor, norm: Tensor, half: bool = False) -> Tensor:
        """Return whether a step must be masked: bool [].

        Args:
            loss: mean loss of the global batch, [].
            norm: norm of its gradient before clipping, [].
            half: whether the loss was scaled for fp16, so that what is not finite is an overflow.
        """
        norm = norm.float()
        never = torch.zeros_like(norm, dtype=torch.bool)
        infinite = ~(loss.isfinite() & norm.isfinite())
        lost, overflow = (never, infinite) if half else (infinite, never)
        spike = never
        if self.spike:
            spike = (self.accepted >= LEAST_NORMS) & ~infinite & (norm > self.spike * self.norms.nanmedian())
        masked = infinite | spike

        self.counts += torch.stack([lost, spike, overflow])
        # An overflow neither ends a row of unsound steps nor lengthens it.
        longer, kept = torch.stack([lost | spike, overflow]), torch.stack([overflow, never])
        self.streaks = torch.where(longer, self.streaks + 1, torch.where(kept, self.streaks, 0))
        self.longest = torch.maximum(self.longest, self.streaks)
        place = self.accepted.remainder(WINDOW)[None]  # as a tensor of indices, which asks no host
        self.norms.index_copy_(0, place, torch.where(masked, self.norms.index_select(0, place), norm))
        self.accepted += ~masked
        return masked

    def read(self) -> Masked:
        """Bring what was masked since the last call to the host, which waits for the device."""
        found = Masked(*self.counts.tolist(), *self.longest.tolist())
        self.counts.zero_()
        self.longest.zero_()
        return found

    def forget_rows(self) -> None:
        """Begin to count rows of unsound steps anew, as after a rollback."""
        self.streaks.zero_()
        self.longest.zero_()

    def state(self) -> dict[str, Any]:
        """Return it as plain values, for a checkpoint; the counters were read and lie elsewhere."""
        kept = min(int(self.accepted), WINDOW)
        return {
            "norms": self.norms[:kept].tolist(),
            "accepted": int(self.accepted),
            "streaks": self.streaks.tolist(),
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Take over what `state` returned; None, of checkpoints older than the guard: start anew."""
        self.norms.fill_(torch.nan)
        for counter in (self.accepted, self.streaks, self.longest, self.counts):
            counter.zero_()
        if state is not None:
            self.norms[: len(state["norms"])] = torch.tensor(state["norms"], device=self.norms.device)
            self.accepted.fill_(state["accepted"])
            self.streaks.copy_(torch.tensor(state["streaks"]))
