"""Guidance: how a prediction is led away from that of a worse model, where on the way, and how far.

The worse model is the same one without the class (classifier-free guidance), or another checkpoint
(autoguidance). Every way to be led is one class and one line in `GUIDES`; its options combine freely.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from triptych.denoiser import Denoiser
from triptych.diffusion.noise_level import NoiseLevel
from triptych.diffusion.schedules import NoiseSchedule
from triptych.errors import UserError
from triptych.specs import options_of, read_options, written

TINY = 1e-12
"""In place of the deviation of an image that is the same all over."""

Shape = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class Guide(ABC):
    """A way to lead a prediction away from a worse one. A subclass says how the two are combined."""

    above: float = 0.0
    """Guided only where the noise per signal, rho = sigma / alpha, is more than this (arXiv 2404.07724)."""
    below: float = math.inf
    """Guided only where rho is at most this."""
    shape: Shape = "constant"
    """How the scale's excess over 1 goes with time: constant; or linear and cosine, which rise from nothing
    at pure noise to twice as much at data and have the same mean (arXiv 2404.13040)."""
    rescale: float = 0.0
    """How far, 0 to 1, the guided images' standard deviation is led back to what it was without guidance
    (arXiv 2305.08891, equations 15 and 16, on x_0)."""
    against: str = ""
    """The worse model: empty for the same one without the class; or a checkpoint of the run, as `epoch-10`,
    or of another, as `runs/small@last`, that is told the same class (arXiv 2406.02507)."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is out of range."""
        if not 0 <= self.above < self.below:
            found = f"above {self.above:g} and below {self.below:g} leave no room"
            raise UserError(self._asked, found, "choose 0 <= above < below")
        if self.shape not in get_args(Shape):
            choices = ", ".join(get_args(Shape))
            raise UserError(self._asked, f"shape {self.shape}", f"choose from {choices}")
        if not 0 <= self.rescale <= 1:
            raise UserError(self._asked, f"rescale {self.rescale:g}", "choose 0 to 1")

    @property
    def _asked(self) -> str:
        return f"guide {name_of(self)}"

    @property
    def _asked_in_full(self) -> str:
        return f"guide {self.label}"

    @property
    def label(self) -> str:
        """How tables name it: `cfg`, with what differs from the defaults: `cfg,above=0.2`."""
        return ",".join([name_of(self), *written(asdict(self), options_of(type(self)))])

    def check_levels(self, sampler: str, levels: Sequence[NoiseLevel]) -> None:
        """Raise `UserError` where it holds at none of the levels [] that a sampler shows the model."""
        noise = [float(level.sigma / level.alpha) for level in levels]
        if not any(self.above < rho <= self.below for rho in noise):
            found = f"{sampler} shows the model noise of {max(noise):.3g} to {min(noise):.3g} alone"
            raise UserError(self._asked_in_full, found, "choose above and below around some of it")

    def scale_at(self, scale: float, level: NoiseLevel, schedule: NoiseSchedule) -> float:
        """Return the guidance scale at a level [] of a model whose own levels are those of `schedule`.

        It is 1, plain conditional, where nothing is guided. Scales up to 1 stay what they are.
        """
        if scale <= 1:
            return scale
        if not self.above < float(level.sigma / level.alpha) <= self.below:
            return 1.0
        if self.shape == "constant":
            return scale
        t = float(schedule.time(level.log_snr))
        return 1 + (scale - 1) * (2 * (1 - t) if self.shape == "linear" else 1 + math.cos(math.pi * t))

    def led(
        self, strong: Tensor, weak: Tensor, scale: float, before: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the guided x_0 [B, ...], and what the next call is to be given as `before`.

        Args:
            strong: the model's prediction of x_0.
            weak: the worse one.
            scale: 1 is `strong`.
            before: what the last call returned; None in the first.
        """
        guided, memory = self._combined(strong, weak, scale, before)
        if self.rescale:
            spread, plain = (_deviation(images) for images in (guided, strong))
            guided = guided * torch.lerp(torch.ones_like(plain), plain / spread.clamp(min=TINY), self.rescale)
        return guided, memory

    @abstractmethod
    def _combined(
        self, strong: Tensor, weak: Tensor, scale: float, before: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the guided x_0 before it is rescaled, and the memory."""


@dataclass(frozen=True)
class CFG(Guide):
    """Go straight on from the worse prediction through the better: weak + s (strong - weak).

    Classifier-free guidance (arXiv 2207.12598, equation 6, where w = s - 1).
    """

    def _combined(
        self, strong: Tensor, weak: Tensor, scale: float, before: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        return torch.lerp(weak, strong, scale), None


@dataclass(frozen=True)
class APG(Guide):
    """Go on across the prediction rather than along it, which would saturate the images.

    Adaptive projected guidance (arXiv 2410.02416, algorithm 1). With parallel=1, momentum=0 and norm=inf
    it is `CFG`.
    """

    parallel: float = 0.0
    """How much of the difference along the prediction counts (eta in the paper)."""
    momentum: float = -0.5
    """Share of the differences of earlier calls that is added (beta); negative, it leads away from them."""
    norm: float = 2.5
    """The difference of an image is scaled down to this Euclidean norm, over all pixels (r); inf: never."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is out of range."""
        super().__post_init__()
        for name, fits, wanted in (
            ("parallel", math.isfinite(self.parallel), "a number"),
            ("momentum", -1 < self.momentum < 1, "more than -1 and less than 1"),
            ("norm", self.norm > 0, "more than 0"),
        ):
            if not fits:
                raise UserError(self._asked, f"{name} {getattr(self, name):g}", f"choose {wanted}")

    def _combined(
        self, strong: Tensor, weak: Tensor, scale: float, before: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        memory = strong - weak if before is None else strong - weak + self.momentum * before
        difference, direction = memory.flatten(1), strong.flatten(1)
        length = torch.linalg.vector_norm(difference, dim=1, keepdim=True)
        difference = difference * (self.norm / length).clamp(max=1.0)
        direction = torch.nn.functional.normalize(direction, dim=1)
        along = (difference * direction).sum(1, keepdim=True) * direction
        step = difference + (self.parallel - 1) * along
        return strong + (scale - 1) * step.view_as(strong), memory


GUIDES: dict[str, type[Guide]] = {"cfg": CFG, "apg": APG}
"""Every way to be guided by the name that recipes use."""

PLAIN = CFG()
"""Classifier-free guidance as it was first written, at every level."""


def name_of(guide: Guide) -> str:
    """Return the name of a way to be guided."""
    return next(name for name, kind in GUIDES.items() if kind is type(guide))


def named_guide(spec: str) -> Guide:
    """Return the way to be guided that `cfg`, `cfg,above=0.2,below=3` or `apg,norm=5` names.

    Raises:
        UserError: there is no such way or option, or a value is out of range.
    """
    name, *parts = spec.split(",")
    if "=" in name:
        raise UserError(f"guide {spec}", "it has options and no name", f"write it like cfg,{spec}")
    if name not in GUIDES:
        raise UserError(f"guide {spec}", "no such guidance", f"choose from {', '.join(GUIDES)}")
    return GUIDES[name](**read_options(f"guide {name}", spec, parts, options_of(GUIDES[name])))


class GuidedDenoiser:
    """A denoiser with classes, guidance and clipping bound: what a sampler is given for a batch.

    With scale s the prediction is, as `CFG` has it, x_0(null) + s (x_0(class) - x_0(null)): 0 is
    unconditional, 1 plain conditional, above 1 guided. Both branches are one batched network call, and a
    branch whose weight is zero is not computed. Clipping comes last.

    Args:
        denoiser: the model.
        class_label: int64 [B], or None for an unconditional model.
        scale: guidance scale s.
        clip: whether the guided x_0 is clamped to [-1, 1].
        guide: how it is guided.
        weak: the model that `guide` leads away from; None: the same one without the class.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        class_label: Tensor | None,
        scale: float,
        clip: bool,
        guide: Guide = PLAIN,
        weak: Denoiser | None = None,
    ):
        if class_label is None and scale != 0 and weak is None:
            raise ValueError(f"guidance scale {scale} needs class labels; an unconditional model has scale 0")
        self.denoiser = denoiser
        self.class_label = class_label
        self.scale = scale
        self.clip = clip
        self.guide = guide
        self.weak = weak
        self.calls = 0
        """Network evaluations per image so far: a guided step counts two."""
        self._memory: Tensor | None = None

    def __call__(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return the guided, clipped x_0 [B, C, H, W] for x [B, C, H, W] at a level []."""
        scale = self.guide.scale_at(self.scale, level, self.denoiser.schedule)
        self.calls += calls_of(scale)
        x0 = self._guided(x, level, scale)
        return x0.clamp(-1.0, 1.0) if self.clip else x0

    def _guided(self, x: Tensor, level: NoiseLevel, scale: float) -> Tensor:
        label = self.class_label
        if scale == 1 or (scale == 0 and label is None):
            return self.denoiser(x, level, label)
        if scale != 0 and self.weak is not None:
            strong, weak = self.denoiser(x, level, label), self.weak(x, level, label)
        else:
            assert label is not None, "an unconditional model is led by another alone"
            null = torch.full_like(label, self.denoiser.backbone.null_class)
            if scale == 0:
                return self.denoiser(x, level, null)
            both = self.denoiser(torch.cat([x, x]), level, torch.cat([label, null]))
            strong, weak = both.chunk(2)
        x0, self._memory = self.guide.led(strong, weak, scale, self._memory)
        return x0


def calls_of(scale: float) -> int:
    """Return the network evaluations that an image takes at a level where this scale holds."""
    return 1 if scale in (0, 1) else 2


def _deviation(images: Tensor) -> Tensor:
    """Return the standard deviation of each image, [B, 1, ...]."""
    return images.std(dim=tuple(range(1, images.ndim)), keepdim=True)
