"""The kinds of event that a run's record is made of, each with its typed payload.

A record holds figures, never free text in their place: whatever a reader may wish to tabulate
is a field here. Durations are in seconds, sizes in bytes, times of day never appear in payloads
(an event's own `seconds` says when it happened).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from triptych.record.elsewhere import Exported, Imported
from triptych.record.figures import DataSummary, Device, Figure, Passport


@dataclass(frozen=True)
class Started:
    """A run's first event: everything about it that does not change."""

    name: str
    config: dict
    """The resolved configuration, as in `config.yaml`."""
    data: DataSummary
    parameters: int
    conditional: bool
    device: Device
    versions: dict[str, str]
    """Of triptych, python, torch, the platform, the commit where there is one, and what computes the scan."""
    steps_per_epoch: float
    total_steps: int
    precision: str = "float32"
    """Of the network in training, as the device was found to gain by."""
    flops: float = 0.0
    """Floating-point operations of one forward pass of one image; 0 in records of older versions."""
    ranks: int = 1
    """Processes that train it."""
    written_in: str = ""
    """The file in which a person wrote down an experiment of another program; empty for one of this."""
    written_digest: str = ""
    """The sha256 of that file."""


@dataclass(frozen=True)
class Resumed:
    """The run goes on from `checkpoint`; later steps of earlier attempts are void."""

    checkpoint: str
    """Folder name; empty when no checkpoint existed yet and training starts over."""
    skipped: tuple[str, ...]
    """Newer checkpoints that were found broken and passed over, each `folder: reason`."""
    changes: dict[str, tuple]
    """Configuration fields that differ from before: name -> (old, new)."""
    device: Device
    versions: dict[str, str]
    total_steps: int
    precision: str = "float32"
    fault: str = ""
    """Why training went back to the checkpoint by itself; empty where it was started again."""
    fault_step: int | None = None
    """Steps taken when that was found."""
    ranks: int = 1
    """Processes that train from here on."""


@dataclass(frozen=True)
class Progress:
    """Training figures, averaged since the previous such event over the steps that were sound."""

    epoch: float
    loss: float
    gradient_norm: float
    learning_rate: float
    images_per_second: float
    not_finite: int = 0
    """Steps left out because their loss or gradient was not finite."""
    spikes: int = 0
    """Steps left out because their gradient was many times as large as usual."""
    overflows: int = 0
    """Steps left out while fp16 looked for the scale of its loss, as is normal."""


@dataclass(frozen=True)
class HeldOut:
    """Mean squared error of the prediction on fixed held-out (image, noise, level), EMA weights."""

    epoch: float
    mse: float
    best: bool
    """True when no earlier checkpoint of this run had a lower one, of either average."""
    took: float
    by_time: tuple[float, ...] = ()
    """The same error in equal parts of time, from clean to noisy."""
    long: float | None = None
    """The error of the second, slower average; None where there is none."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written, verified, and published under its name."""

    epoch: float
    checkpoint: str
    size: int
    took: float | None
    """Seconds until it was safe and retention done. None where training died right after saving, and the
    next attempt noted it."""
    removed: tuple[str, ...]
    """Folders that the retention rule removed after this one was safe; in older records, or thinned."""
    stalled: float | None = None
    """Seconds of these that training waited for; None in records of when it waited for all of them."""
    thinned: tuple[str, ...] = ()
    """Folders that it reduced to their averages."""


@dataclass(frozen=True)
class Previewed:
    """A grid of images drawn during training."""

    epoch: float
    picture: str
    """Path relative to the run folder."""
    sampler: str
    guidance: float
    count: int
    took: float


@dataclass(frozen=True)
class Times:
    """Seconds of one attempt, split by what they were spent on."""

    training: float
    held_out: float
    previews: float
    checkpoints: float
    total: float
    energy: float | None = None
    """Joules that the devices took meanwhile; None where they do not tell."""
    approximate: bool = False
    """Whether the total is only about right, as a person may have written it down."""


DIVERGED = "diverged"
"""The reason of a stop where training went astray."""


@dataclass(frozen=True)
class Stopped:
    """An attempt ended before the last step, after saving, for `reason` (`SIGTERM`, `max-minutes`, ...)."""

    epoch: float
    reason: str
    times: Times


@dataclass(frozen=True)
class Finished:
    """The last step was taken and saved."""

    epoch: float
    times: Times


@dataclass(frozen=True)
class Sampled:
    """Images were drawn from a checkpoint by `triptych sample`."""

    epoch: float
    checkpoint: str
    weights: str
    sampler: str
    guidance: float
    clip: bool
    seed: int
    count: int
    per_class: int | None
    """Images per class where the grid is labelled by class, else None."""
    grid: str
    """Path of the grid relative to the run folder."""
    gif: str | None
    network_calls: int
    took: float
    """Seconds of sampling alone, without loading and without writing pictures."""
    device: Device
    precision: str = "float32"
    guide: str = "cfg"
    """How they were guided, with its options; of scales up to 1 always this."""
    weak_digest: str = ""
    """sha256 of the weights of another model that they were led away from; empty where there is none."""
    side_by_side: str | None = None
    """Path of a picture that shows them beside the same images of other runs, relative to the run folder."""


@dataclass(frozen=True)
class Evaluated:
    """One row of an evaluation table."""

    passport: Passport
    figures: tuple[Figure, ...]
    batch_size: int
    network_calls: int
    """Network evaluations per image: a guided step counts two."""
    generation_took: float
    measuring_took: float | None
    """None where the two were not told apart: both are in `generation_took` then."""
    grid: str | None = field(default=None)
    """A grid of the first generated images, relative to the run folder."""
    nearest: str | None = None
    """A picture of generated images beside the training images nearest to them, as `grid` is given."""


Making = Started | Imported | Resumed | Progress | HeldOut | Saved | Previewed | Stopped | Finished
Payload = Making | Sampled | Evaluated | Exported

KINDS: dict[str, type] = {
    "started": Started,
    "imported": Imported,
    "resumed": Resumed,
    "progress": Progress,
    "held-out": HeldOut,
    "saved": Saved,
    "previewed": Previewed,
    "stopped": Stopped,
    "finished": Finished,
    "sampled": Sampled,
    "evaluated": Evaluated,
    "exported": Exported,
}
"""Every kind of event and its payload: a new kind is one class and one line."""

P = TypeVar("P", bound=Payload)


@dataclass(frozen=True)
class Event(Generic[P]):
    """One line of `record.jsonl`; `Event[HeldOut]` is one that is known to carry that payload."""

    kind: str
    step: int
    """Optimiser steps taken when it happened (of the checkpoint concerned, for sampling and evaluation)."""
    attempt: int
    """0 for the first start of the run, one more for each resume."""
    seconds: float
    """Unix time at which the event was written."""
    data: P
