"""Everything about training that a recipe can set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from triptych.errors import UserError
from triptych.sampling import SamplerConfig, named_sampler
from triptych.sampling.presets import single


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how fast, and what is kept and drawn on the way."""

    epochs: int = 100
    """Passes over the training images."""
    max_steps: int | None = None
    """Optimiser steps after which training ends even if epochs are left; None: no limit."""
    batch_size: int = 128
    """Images per optimiser step, over all processes together."""
    batch_size_per_rank: int | None = None
    """The same for each process: `batch_size` becomes this many times their number; None: as it stands."""
    microbatch: int | None = None
    """Most images that a process computes at once; a step adds up their gradients. None: its whole share."""
    learning_rate: float = 2e-4
    """Peak learning rate of AdamW."""
    learning_rate_schedule: Literal["cosine", "wsd", "constant"] = "cosine"
    """What follows the warm-up: half a cosine down to zero, the peak with a linear decay to zero at the end
    (warmup-stable-decay), or the peak throughout."""
    decay: float = 0.25
    """Of `wsd`, the share of all steps in which the learning rate falls."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate rises linearly from zero."""
    beta1: float = 0.9
    """AdamW's decay of the gradient's running mean."""
    beta2: float = 0.999
    """AdamW's decay of the gradient's running square."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    clip_norm: float = 1.0
    """Gradients of a larger norm are scaled down to it; 0: never."""
    label_drop: float = 0.1
    """Probability with which a label is replaced by the null class, for classifier-free guidance."""
    ema_half_life: float = 500_000
    """Half-life of the moving average of the weights, in images seen; 0: no averaging."""
    ema_warmup: float = 0.05
    """The half-life is at most this share of the images seen so far, so that the start is forgotten."""
    ema_long: float = 4.0
    """A second average, which forgets this many times as slowly, more than once; 0: none."""
    spike: float = 20.0
    """A step whose gradient has this many times the usual norm, at least 1, is left out; 0: only what is not
    finite is."""
    patience: int = 10
    """Steps in a row that may be left out before training goes back to a checkpoint. They are counted on the
    device, which is asked whenever figures are recorded and before each save: more may have gone by."""
    layout: Literal["auto", "nchw", "nhwc"] = "auto"
    """How images lie in memory: channel by channel, or pixel by pixel; auto: what is measured to be faster at
    the first start of a run of at least 10,000 steps, and nchw in a shorter one."""
    compile: bool | Literal["auto"] = "auto"
    """Whether torch.compile makes the network faster, at the cost of some minutes at the start; auto: where
    these are at most a hundredth of the run, it is tried at the first start, and kept if it gains."""
    held_out_count: int = 1024
    """Fixed (image, noise, level) triples on which the held-out error is measured at each checkpoint."""
    checkpoint_every: int = 50
    """Epochs between checkpoints; the last step is always saved."""
    keep_full: int = 2
    """Newest checkpoints that keep all that a resume needs; older ones keep their EMA weights only."""
    keep_every: int | None = None
    """Of the older checkpoints, only those whose epoch is a multiple of this are kept; None: all."""
    keep_best: int = 1
    """So many with the lowest held-out error keep their averages in any case, and so do those with the best
    figure of an evaluation."""
    preview_from: int = 0
    """First epoch after which a preview is drawn."""
    preview_every: int = 50
    """Epochs between previews; 0: none."""
    preview_count: int = 16
    """Images of a preview."""
    preview_guidance: float = 1.0
    """Guidance scale of the previews: 0 unconditional, 1 plain conditional, above 1 guided."""
    preview_sampler: str = "ddim:50"
    """Sampler and steps of the previews."""
    preview_classes: tuple[int, ...] = ()
    """Classes of the previews, in turn; none given: all of them."""

    def __post_init__(self) -> None:
        """Raise `UserError` for values out of range."""
        for name, numbers in RANGES.items():
            value = getattr(self, name)
            if value is not None and (wanted := numbers.wanted(value)):
                found = "not a number" if math.isnan(value) else "out of range"
                raise UserError(f"{_flag(name)} {value:.15g}", found, f"choose {wanted}")
        try:
            object.__setattr__(self, "preview_sampler", single(self.preview_sampler))
            named_sampler(self.preview_sampler)
        except UserError as error:
            asked = f"{_flag('preview_sampler')} {self.preview_sampler}, {error.asked}"
            raise UserError(asked, error.found, error.remedy) from error

    @property
    def averages(self) -> int:
        """How many averages of the weights are kept."""
        return 2 if self.ema_long else 1

    def sampler(self) -> SamplerConfig:
        """Return the previews' sampler."""
        return named_sampler(self.preview_sampler)


RESUMABLE = frozenset(
    {
        "epochs",
        "max_steps",
        "checkpoint_every",
        "keep_full",
        "keep_every",
        "keep_best",
        "microbatch",
        "spike",
        "patience",
        "layout",
        "compile",
        "preview_from",
        "preview_every",
        "preview_count",
        "preview_guidance",
        "preview_sampler",
        "preview_classes",
    }
)
"""The fields that may change when a run is resumed; the schedule is recomputed for the new length."""


def _flag(name: str) -> str:
    """Return how a field is called on the command line."""
    return f"--training.{name.replace('_', '-')}"


HUGE = 1e9


@dataclass(frozen=True)
class Range:
    """The values that a number can take.

    Attributes:
        low: the smallest.
        high: the largest.
        above: whether it must be more than `low`.
        below: whether it must be less than `high`.
        off: whether it may be 0 besides, which switches something off.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False
    off: bool = False

    def wanted(self, value: float) -> str:
        """Return what to choose instead of `value`; empty where that is one of the range."""
        if self.off and value == 0:
            return ""
        if value > self.high or (self.below and value == self.high):
            return f"less than {self.high:,.15g}" if self.below else f"{self.high:,.15g} or less"
        if value > self.low or (value == self.low and not self.above):
            return ""
        more = f"more than {self.low:,.15g}" if self.above else f"{self.low:,.15g} or more"
        return f"0, or {more}" if self.off else more


RANGES: dict[str, Range] = {
    "epochs": Range(1, HUGE),
    "max_steps": Range(1, 2**32 - 1),  # the random generator counts steps in 32 bits
    "batch_size": Range(1, 2**20),
    "batch_size_per_rank": Range(1, 2**20),
    "microbatch": Range(1, 2**20),
    "learning_rate": Range(0, 1e3, above=True),
    "warmup_epochs": Range(0, HUGE),
    "decay": Range(0, 1, above=True),
    "beta1": Range(0, 1, below=True),
    "beta2": Range(0, 1, below=True),
    "weight_decay": Range(0, 1e3),
    "clip_norm": Range(0, HUGE),
    "label_drop": Range(0, 1, below=True),
    "ema_half_life": Range(0, 1e15),
    "ema_warmup": Range(0, 1),
    "ema_long": Range(1, 1e3, above=True, off=True),
    "spike": Range(1, HUGE, off=True),
    "patience": Range(1, HUGE),
    "held_out_count": Range(1, 2**20),
    "checkpoint_every": Range(1, HUGE),
    "keep_full": Range(1, HUGE),
    "keep_every": Range(1, HUGE),
    "keep_best": Range(0, HUGE),
    "preview_from": Range(0, HUGE),
    "preview_every": Range(0, HUGE),
    "preview_count": Range(1, 1024),
    "preview_guidance": Range(0, HUGE),
}
"""The range of every number."""
