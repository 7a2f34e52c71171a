"""What is compared: variants of one piece of work, and the cases that list them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from triptych.commands.bench import BenchOptions

Call = Callable[[], Sequence[Tensor]]
"""The piece of work that is measured. It returns its results, by which variants are compared."""

DTYPE = "float32"
"""The numbers that everything is measured in, unless a comparison says otherwise."""

ROUNDS, WARM_UP = 12, 1

CPU = torch.device("cpu")

PRODUCT, CONVOLUTION, TRAINED_CONVOLUTION, COPY = "product", "convolution", "trained convolution", "copy"
"""Kinds of work that a machine has a ceiling for."""

Operations = Mapping[str, float]
"""How much of each kind a call does: floating-point operations, bytes of copies."""


class Absent(NamedTuple):
    """A variant that cannot be measured here."""

    why: str


class Noted(NamedTuple):
    """A call of which something became known when it was made."""

    call: Call
    note: str


Made = Call | Noted | Absent
"""What comes of making a variant: some can be found to be absent only by trying."""


@dataclass(frozen=True)
class Variant:
    """One way to do the work."""

    make: Callable[[], Made] | Absent
    """Makes inputs, weights and all else that is no part of the work; called in the process that measures."""
    like: str = ""
    """The variant whose results it has to reproduce, in the same layout; empty: none of those here."""
    note: str = ""
    """What has to be known of it: the peer's version, a stand-in."""
    facts: Callable[[], Mapping[str, float]] = dict
    """Figures that go with it, by their titles, such as the parameters of a network."""
    operations: Callable[[], Operations] = dict
    """What a call comes to at least; of what has a ceiling, the share that is reached is told."""


@dataclass(frozen=True)
class Comparison:
    """Variants of one piece of work at one size."""

    title: str
    tokens: int
    batch: int
    base: str
    """The variant that the others are told as ratios to; it is absent only where all are."""
    variants: Mapping[str, Variant]
    rounds: int = ROUNDS
    warm_up: int = WARM_UP
    """Rounds before them that are dropped."""
    dtype: str = DTYPE
    """The numbers that it is measured in."""
    device: torch.device = CPU
    """Which computes; its ceilings, and its memory, are what variants are held against."""
    images: int = 0
    """That a call trains on, draws or measures, to be told per second; 0: they are not told."""
    timed: bool = True
    """Whether time is measured beside memory."""
    weighed: bool = True
    """Whether memory is measured beside time; where other processes do the work, they measure it."""
    series: str = ""
    """Name of the series that it is part of: comparisons that differ in one size alone, told together."""
    axis: str = ""
    """What that size is of."""
    size: int = 0


class Case(NamedTuple):
    """Comparisons that answer one question."""

    what: str
    comparisons: Callable[[BenchOptions], list[Comparison]]
    """The same list whenever it is asked with the same options: processes that measure memory ask again."""
    on_device: bool = False
    """Whether it runs on the device that the options choose; all others run on the processor."""
