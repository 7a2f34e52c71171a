"""Images from a model: which noise, which class, in which batches.

Image j of a request has class j mod K and noise keyed by (seed, j). So the first n images of a larger
request are the images of a smaller one, any batch size gives the same noise, and two models, two
checkpoints or two guidance scales can be compared image by image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from triptych.denoiser import Denoiser
from triptych.diffusion.noise_level import along
from triptych.diffusion.schedules import NoiseSchedule
from triptych.errors import UserError
from triptych.guidance import PLAIN, Guide, GuidedDenoiser, named_guide
from triptych.images import to_pixels
from triptych.random import MASK32, Stream, normal
from triptych.sampling import SamplerConfig, named_sampler
from triptych.sampling.presets import expanded
from triptych.sampling.sampler import Step, sample


@dataclass(frozen=True)
class SamplingConfig:
    """What `triptych sample` draws where its options do not say otherwise."""

    sampler: tuple[str, ...] = ("ddim:50",)
    """Samplers with their numbers of steps, or presets (parity, quality, fast, guided); a grid is drawn by
    each, anything else by the first."""
    guidance: float = 1.0
    """Guidance scale: 0 unconditional, 1 plain conditional, above 1 guided."""
    guide: str = PLAIN.label
    """How they are guided: cfg or apg, with options, such as cfg,above=0.2,below=3."""
    per_class: int = 8
    """Images of each class in a grid."""
    batch_size: int = 256
    """Images drawn at a time."""

    def __post_init__(self) -> None:
        """Raise `UserError` for values out of range."""
        object.__setattr__(self, "sampler", expanded(self.sampler))
        for sampler in self.sampler:
            named_sampler(sampler)
        named_guide(self.guide)
        if not self.sampler:
            raise UserError("sampling.sampler", "none is named", "name one, such as ddim:50")
        if not 0 <= self.guidance < math.inf:
            raise UserError(f"sampling.guidance {self.guidance:g}", "out of range", "choose 0 or more")
        for name, number in (("per-class", self.per_class), ("batch-size", self.batch_size)):
            if number < 1:
                raise UserError(f"sampling.{name} {number}", "less than 1", "choose 1 or more")


@dataclass(frozen=True)
class Request:
    """Which images to draw, and how.

    Attributes:
        count: number of images.
        guidance: guidance scale; 0 is unconditional and all that an unconditional model can do.
        sampler: the sampler, its steps and options.
        seed: of all noise.
        batch_size: images drawn at a time.
        classes: the classes to draw, in turn; None for every class of the model.
        guide: how they are guided; at a scale of at most 1 always plain, since nothing leads away there.
        weak: the model that `guide` leads away from, where that is another checkpoint.
        weak_digest: sha256 of the file of its weights.
    """

    count: int
    guidance: float
    sampler: SamplerConfig
    seed: int = 0
    batch_size: int = 128
    classes: tuple[int, ...] | None = None
    guide: Guide = PLAIN
    weak: Denoiser | None = field(default=None, compare=False, repr=False)
    weak_digest: str = ""

    def __post_init__(self) -> None:
        """Let the guide be plain where it means nothing, so that what draws the same is the same."""
        if self.guidance <= 1:
            for name, value in (("guide", PLAIN), ("weak", None), ("weak_digest", "")):
                object.__setattr__(self, name, value)

    @property
    def caption(self) -> str:
        """What the caption of a picture says of how its images were drawn."""
        guidance = f", guidance {self.guidance:g}" if self.guidance else ""
        guidance += "" if self.guide == PLAIN else f" ({self.guide.label})"
        return f"{self.sampler.label}{guidance}, seed {self.seed}"

    def check(self, classes: int) -> None:
        """Raise `UserError` where a model of `classes` classes (0: unconditional) cannot answer it."""
        if not 0 <= self.guidance < math.inf:
            raise UserError(f"guidance {self.guidance:g}", "out of range", "choose 0 (no class) or more")
        if self.guidance > 0 and classes == 0 and not self.guide.against:
            remedy = "leave it out, or give one above 1 and --guide cfg,against=CHECKPOINT"
            raise UserError(f"guidance {self.guidance:g}", "the model is unconditional", remedy)
        if (self.weak is None) != (not self.guide.against):
            found = "the model that it names was not opened"
            raise UserError(f"guide {self.guide.label}", found, "make the request by Run.request")
        if self.classes is not None and not all(0 <= c < classes for c in self.classes):
            raise UserError(
                f"classes {self.classes}", f"the model has {classes}", f"choose 0 to {classes - 1}"
            )
        for what, number in (
            (f"{self.count} images", self.count),
            (f"batches of {self.batch_size}", self.batch_size),
        ):
            if number < 1:
                raise UserError(what, "less than 1", "choose 1 or more")
        if not 0 <= self.seed <= MASK32:
            raise UserError(f"--seed {self.seed}", "out of range", "choose 0 to 2^32 - 1")

    def check_levels(self, schedule: NoiseSchedule) -> None:
        """Raise `UserError` where the grid does not fit the schedule, or the guide holds nowhere on it."""
        *shown, _ = self.sampler.levels(schedule)
        if self.guidance > 1:
            self.guide.check_levels(self.sampler.label, shown)

    def shows_classes(self, classes: int) -> bool:
        """Whether its images, to a model of `classes` classes (0: none), are asked to show one each."""
        return classes > 0 and self.guidance > 0

    def labels(self, index: Tensor, classes: int) -> Tensor | None:
        """Return the class of each image, int64 like `index`, or None for an unconditional model."""
        if classes == 0:
            return None
        chosen = torch.tensor(self.classes or range(classes), device=index.device)
        return chosen[index % len(chosen)]


class Generated(NamedTuple):
    """A batch of finished images.

    Attributes:
        pixels: uint8 [B, C, H, W].
        labels: int64 [B], the classes asked for; zeros for an unconditional model.
        index: int64 [B], the number of each image in the request.
        calls: network evaluations per image.
    """

    pixels: Tensor
    labels: Tensor
    index: Tensor
    calls: int


class Frame(NamedTuple):
    """A moment of denoising, for those who watch.

    Attributes:
        i: steps taken so far; 0 shows the initial noise.
        steps: steps in all.
        x: the noisy images, uint8 [B, C, H, W].
        x0: the clean images predicted from them, uint8 [B, C, H, W].
    """

    i: int
    steps: int
    x: Tensor
    x0: Tensor


def steps_of(
    denoiser: Denoiser, request: Request, index: Tensor
) -> tuple[GuidedDenoiser, Iterator[Step], Tensor]:
    """Return the denoiser bound to the classes of `index`, its steps down the grid, and its noise."""
    backbone = denoiser.backbone
    shape = (backbone.channels, backbone.image_size, backbone.image_size)
    label = request.labels(index, backbone.classes)
    guided = GuidedDenoiser(
        denoiser, label, request.guidance, request.sampler.clip, request.guide, request.weak
    )
    levels = request.sampler.levels(denoiser.schedule)
    eps = normal(request.seed, Stream.INITIAL_NOISE, 0, index, shape)
    # Below pure noise the image's own share is unknown; its variance of about 1 is kept by noise.
    x = eps * along(torch.hypot(levels[0].alpha, levels[0].sigma), eps)

    def noise(i: int) -> Tensor:
        return normal(request.seed, Stream.SAMPLER_NOISE, i, index, shape)

    return guided, sample(request.sampler.build(), guided, levels, x, noise), x


def _device(denoiser: Denoiser) -> torch.device:
    return next(denoiser.parameters()).device


def generate(
    denoiser: Denoiser,
    request: Request,
    watch: Callable[[Frame], None] | None = None,
    share: Sequence[int] | None = None,
) -> Iterator[Generated]:
    """Draw the images of `request`, a batch at a time, in order.

    Args:
        denoiser: the model; it is put into evaluation mode.
        request: which images, and how.
        watch: called with every moment of the first batch's denoising, the initial noise included.
        share: the numbers of the images to draw; None: all of the request.

    Raises:
        UserError: the model cannot answer the request.
    """
    classes = denoiser.backbone.classes
    request.check(classes)
    denoiser.eval()
    share = range(request.count) if share is None else share
    for start in range(0, len(share), request.batch_size):
        index = torch.tensor(share[start : start + request.batch_size], device=_device(denoiser))
        guided, steps, x = steps_of(denoiser, request, index)
        for step in steps:
            if watch and start == 0:
                if step.i == 0:
                    watch(Frame(0, request.sampler.steps, to_pixels(x), to_pixels(step.x0)))
                watch(Frame(step.i + 1, request.sampler.steps, to_pixels(step.x), to_pixels(step.x0)))
            x = step.x
        labels = request.labels(index, classes)
        yield Generated(
            to_pixels(x), torch.zeros_like(index) if labels is None else labels, index, guided.calls
        )
