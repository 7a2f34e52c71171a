"""What an evaluation will take, found out by doing a little of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import NamedTuple

import torch
from torch import Tensor

from triptych.denoiser import Denoiser
from triptych.devices import synchronize
from triptych.diffusion.noise_level import NoiseLevel
from triptych.generation import Request, steps_of
from triptych.guidance import calls_of
from triptych.images import to_pixels
from triptych.metrics.extractors.extractor import Extractor
from triptych.sampling.sampler import sample

ENOUGH = 0.5
"""Seconds of a sampler's steps that are timed, after one that is not: others may use the machine as well."""
SHARE = 0.02
"""Of what all images will take: however few they are, timing them takes little beside."""
LONG = 2.0
"""Seconds after which no further step, and no larger batch of an extractor, is tried."""


@dataclass(frozen=True)
class Cost:
    """Seconds that images take."""

    drawing: float = 0.0
    measuring: float = 0.0
    """Features and metrics."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.drawing + other.drawing, self.measuring + other.measuring)

    def times(self, factor: float) -> Cost:
        """Return that of so many times the images."""
        return Cost(self.drawing * factor, self.measuring * factor)

    @property
    def total(self) -> float:
        """All of them."""
        return self.drawing + self.measuring


@torch.no_grad()
def drawing_seconds(denoiser: Denoiser, request: Request) -> float:
    """Return about how many seconds an image of a full batch takes to draw, by the first steps of a few."""
    size = min(request.batch_size, request.count)
    device = next(denoiser.parameters()).device
    denoiser.eval()
    index = torch.arange(size, device=device)
    begun: list[float] = []  # what it takes to draw a batch's noise
    steps: list[Timed] = []
    last = time.perf_counter()
    expected = network_calls(denoiser, request)
    batches = request.count / size

    def enough() -> bool:
        """Whether the steps that were timed tell enough."""
        known = repeated(steps)
        timed = sum(step.seconds for step in known)
        whole = seconds_per_call(known) * expected * batches if known else 0.0
        return (bool(known) and timed >= min(ENOUGH, SHARE * whole)) or sum(s.seconds for s in steps) >= LONG

    while not enough():
        guided, walk, noise = steps_of(denoiser, request, index)
        to_pixels(noise)
        now = _now(device)
        begun.append(now - last)
        last, called = now, 0
        for _ in walk:
            now = _now(device)
            steps.append(Timed(now - last, guided.calls - called))
            last, called = now, guided.calls
            if enough():
                break
    each = seconds_per_call(repeated(steps) or steps)
    return (mean(begun[1:] or begun) + each * expected) / size


class Timed(NamedTuple):
    """A step of a sampler: what it took, and how often it called the network for an image."""

    seconds: float
    calls: int


def repeated(steps: Sequence[Timed]) -> list[Timed]:
    """Return the steps that others before were like: the first of a kind also makes ready what these find."""
    return [step for k, step in enumerate(steps) if any(step.calls == other.calls for other in steps[:k])]


def seconds_per_call(steps: Sequence[Timed]) -> float:
    """Return what a call of the network takes in some steps."""
    return sum(step.seconds for step in steps) / sum(step.calls for step in steps)


def network_calls(denoiser: Denoiser, request: Request) -> int:
    """Return how often an image of `request` is shown to a network, without drawing it."""
    calls = 0

    def denoise(x: Tensor, level: NoiseLevel) -> Tensor:
        nonlocal calls
        calls += calls_of(request.guide.scale_at(request.guidance, level, denoiser.schedule))
        return x

    levels = request.sampler.levels(denoiser.schedule)
    for _ in sample(request.sampler.build(), denoise, levels, torch.zeros(1, 1), lambda i: torch.zeros(1, 1)):
        pass
    return calls


def _now(device: torch.device) -> float:
    """Return the time when all work on a device is done."""
    synchronize(device)
    return time.perf_counter()


def measuring_seconds(
    extractors: Iterable[Extractor], shape: tuple[int, int, int, int], device: torch.device
) -> float:
    """Return about how many seconds an image takes all extractors.

    Args:
        extractors: on `device`.
        shape: of a full batch of images, [B, C, H, W].
        device: where they run.
    """
    pixels = torch.randint(256, shape, dtype=torch.uint8, device=device)
    return sum(_seconds(extractor, pixels) for extractor in extractors)


def _seconds(extractor: Extractor, pixels: torch.Tensor) -> float:
    few = pixels[:4]
    _timed(lambda: extractor(few), pixels.device)
    each = _timed(lambda: extractor(few), pixels.device) / len(few)
    some = pixels[: max(len(few), int(LONG / each))]
    return _timed(lambda: extractor(some), pixels.device) / len(some)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    return _now(device) - start
