"""The one loop that runs every sampler.

A sampler walks down a grid of noise levels. It sees the noisy images, a function that predicts the
clean ones, and a source of noise; never a network, a label, a schedule or a configuration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel, along

Denoise = Callable[[Tensor, NoiseLevel], Tensor]
"""From noisy images [B, ...] and their level to the predicted clean images [B, ...]."""

NoiseSource = Callable[[int], Tensor]
"""From the number of a step to standard normal noise [B, ...]; the same number, the same noise."""


class SamplerState(NamedTuple):
    """Where a sampler stands: the images, and what it remembers of earlier steps."""

    x: Tensor
    history: tuple = ()


@dataclass(frozen=True)
class Sampler(ABC):
    """A rule that takes noisy images from one noise level to the next.

    A subclass is a frozen dataclass whose fields are its options, each with a default: numbers or texts,
    so that they can be typed.
    """

    usual_steps: ClassVar[int]
    """Number of steps where none is asked for."""
    calls_per_step: ClassVar[int] = 1
    """Predictions that a step asks for, but for one from pure noise and one to data: those ask for one."""

    @abstractmethod
    def step(
        self,
        state: SamplerState,
        i: int,
        levels: Sequence[NoiseLevel],
        denoise: Denoise,
        noise: NoiseSource,
    ) -> tuple[SamplerState, Tensor]:
        """Go from levels[i] to levels[i + 1]; return the new state and the x_0 predicted on the way."""


class Step(NamedTuple):
    """What one step of the loop yields."""

    i: int
    x: Tensor
    """Images after the step, at `level`."""
    x0: Tensor
    """The clean images that were predicted in it."""
    level: NoiseLevel


@torch.no_grad()
def sample(
    sampler: Sampler, denoise: Denoise, levels: Sequence[NoiseLevel], x: Tensor, noise: NoiseSource
) -> Iterator[Step]:
    """Run `sampler` down the grid, yielding every step; the last one holds the samples.

    Args:
        sampler: the rule of each step.
        denoise: predicts x_0.
        levels: noise levels from noisiest to cleanest, at least two.
        x: images at levels[0], [B, ...].
        noise: standard normal noise for stochastic samplers.
    """
    state = SamplerState(x)
    for i in range(len(levels) - 1):
        state, x0 = sampler.step(state, i, levels, denoise, noise)
        yield Step(i, state.x, x0, levels[i + 1])


def implied_noise(x: Tensor, x0: Tensor, level: NoiseLevel) -> Tensor:
    """Return the eps [B, ...] for which x = alpha x_0 + sigma eps."""
    return (x - along(level.alpha, x) * x0) * along(1 / level.sigma, x)
