"""Figures as a record holds them: each with its spread, and with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

LOWEST = "best-mse"
"""In place of a checkpoint's folder, where only its having the lowest held-out error is known."""


@dataclass(frozen=True)
class DataSummary:
    """What a run was trained on; `digest` is the sha256 of the decoded training images and labels."""

    name: str
    digest: str
    channels: int
    image_size: int
    train_images: int
    held_out_images: int
    class_names: tuple[str, ...]
    preparation: str = ""
    """What was done to the pixels of the files; empty: nothing."""
    held_out_digest: str = ""
    """sha256 of the held-out images and labels; empty in records of older versions."""


@dataclass(frozen=True)
class Device:
    """The hardware that did the work: `used` of `present` devices called `name`."""

    name: str
    used: int
    present: int


@dataclass(frozen=True)
class Passport:
    """Where a figure comes from. Figures with different passports are not set side by side."""

    checkpoint: str
    """Folder name of the checkpoint, `epoch-00350`; empty for real images."""
    epoch: float
    weights: str
    """`ema`, `ema_long` (a slower average) or `raw`; empty for real images."""
    sampler: str
    """`ddim:50`, `ddpm:1000`, ...; empty for real images."""
    guidance: float
    """Guidance scale: 0 unconditional, 1 plain conditional, above 1 guided."""
    clip: bool
    seed: int
    count: int
    """Number of generated (or real held-out) images that were measured."""
    reference: str
    """Name and split of the reference set, such as `digits/train`."""
    reference_digest: str
    reference_count: int
    versions: dict[str, str]
    device: Device
    precision: str = "float32"
    """Of the network that drew the images."""
    held_out_digest: str = ""
    """Of the real images beside the generated ones; empty in records of older versions."""
    beside: str = ""
    """Name and split of those, such as `digits/held-out`; empty in records of older versions."""
    extractors: dict[str, str] = field(default_factory=dict)
    """The networks that features come from: the sha256 of each by name."""
    weights_digest: str = ""
    """sha256 of the file of the weights; empty in records of older versions, and for real images."""
    guide: str = "cfg"
    """How they were guided, with its options; of scales up to 1, and of real images, always this."""
    weak_digest: str = ""
    """sha256 of the weights of another model that they were led away from; empty where there is none."""
    told_class: bool | None = None
    """Whether they were asked to show a class; None in older records, where it is as the scale is above 0."""
    extractor: str = ""
    """The only one, in records of older versions, whose digest is in `extractor_digest`."""
    extractor_digest: str = ""

    def __post_init__(self) -> None:
        """Put what older records do not hold, or hold elsewhere, where it belongs."""
        if self.told_class is None:
            object.__setattr__(self, "told_class", self.guidance > 0)
        if self.extractor and not self.extractors:
            object.__setattr__(self, "extractors", {self.extractor: self.extractor_digest})
        for legacy in ("extractor", "extractor_digest"):
            object.__setattr__(self, legacy, "")


@dataclass(frozen=True)
class Figure:
    """One metric's value, with its spread, and the same metric on other real images beside it."""

    metric: str
    estimate: float
    spread: float | None
    """Standard error (group jackknife), None where it is undefined."""
    real: float | None
    """The same metric of real images against the same reference: as many, where there are so many."""
    per_class: tuple[float, ...] | None = None
    real_per_class: tuple[float, ...] | None = None
    split_std: float | None = None
    """Standard deviation over splits, for the metrics that are defined with one (Inception Score)."""
    groups: tuple[float, ...] = ()
    """The estimate with each jackknife group left out in turn; group g has the same noise in every row of a
    seed, so that two rows can be compared group by group. Empty in records of older versions."""
    n: int = 0
    """Number of images behind the estimate; 0 in records of older versions."""
    real_n: int | None = None
    """Number of real images behind `real`."""
    real_spread: float | None = None
    """Standard error of `real`, None where it is undefined and in records of older versions."""
    per_class_n: tuple[int, ...] | None = None
    """Number of images behind each of `per_class`; None in records of older versions."""
    version: int = 1
    """Of the metric's definition: figures of unlike ones are not set side by side."""
