"""Everything about training that a recipe can set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from triptych.errors import UserError
from triptych.sampling import SamplerConfig, named_sampler


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
    learning_rate_schedule: Literal["cosine", "constant"] = "cosine"
    """What follows the warm-up: half a cosine down to zero, or the peak throughout."""
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
    """A second average, which forgets this many times as slowly; 0: none."""
    spike: float = 20.0
    """A step whose gradient has this many times the usual norm is left out; 0: only what is not finite is."""
    patience: int = 10
    """Steps in a row that may be left out before training goes back to a checkpoint."""
    compile: bool = False
    """Whether torch.compile is to make the network faster, at the cost of some minutes at the start."""
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
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                wanted = f"choose {low:g} or more" if value < low else f"choose {high:g} or less"
                flag = f"--training.{name.replace('_', '-')}"
                raise UserError(flag, f"{value} is out of range", wanted)
        named_sampler(self.preview_sampler)

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

TINY, NEARLY_ONE, HUGE = 1e-12, 1 - 1e-9, 1e9

RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, HUGE),
    "max_steps": (1, 2**32 - 1),  # the random generator counts steps in 32 bits
    "batch_size": (1, 2**20),
    "batch_size_per_rank": (1, 2**20),
    "microbatch": (1, 2**20),
    "learning_rate": (TINY, 1e3),
    "warmup_epochs": (0, HUGE),
    "beta1": (0, NEARLY_ONE),
    "beta2": (0, NEARLY_ONE),
    "weight_decay": (0, 1e3),
    "clip_norm": (0, HUGE),
    "label_drop": (0, NEARLY_ONE),
    "ema_half_life": (0, 1e15),
    "ema_warmup": (0, 1),
    "ema_long": (0, 1e3),
    "spike": (0, HUGE),
    "patience": (1, HUGE),
    "held_out_count": (1, 2**20),
    "checkpoint_every": (1, HUGE),
    "keep_full": (1, HUGE),
    "keep_every": (1, HUGE),
    "keep_best": (0, HUGE),
    "preview_from": (0, HUGE),
    "preview_every": (0, HUGE),
    "preview_count": (1, 1024),
    "preview_guidance": (0, HUGE),
}
"""Smallest and largest value of every number; what is not a number lies outside."""
