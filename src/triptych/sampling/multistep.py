"""Samplers with a memory: what they saw at earlier levels, the loop around it, and a step that needs none."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import ClassVar, NamedTuple

from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel, along
from triptych.errors import UserError
from triptych.sampling.sampler import Denoise, NoiseSource, Sampler, SamplerState, implied_noise


class Seen(NamedTuple):
    """Images [B, ...] at a level of the grid, and the clean ones that were predicted from them.

    The history of every sampler with a memory is a tuple of these, the newest first.
    """

    level: NoiseLevel
    x: Tensor
    x0: Tensor


@dataclass(frozen=True)
class Multistep(Sampler):
    """A sampler that extrapolates from what was predicted at the last few levels.

    Its last step, to data, ends at the predicted images: the logarithm of no noise is infinite, and an
    extrapolation along it has no meaning. For the same reason nothing that was seen at pure noise is
    extrapolated from.
    """

    highest: ClassVar[int]
    """The most levels that it can extrapolate from."""

    order: int
    """Levels that a step extrapolates from; the first steps have fewer."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is out of range."""
        if not 1 <= self.order <= self.highest:
            asked = f"sampler {type(self).__name__} with order {self.order}"
            raise UserError(asked, "it has no such order", f"choose 1 to {self.highest}")

    def step(
        self,
        state: SamplerState,
        i: int,
        levels: Sequence[NoiseLevel],
        denoise: Denoise,
        noise: NoiseSource,
    ) -> tuple[SamplerState, Tensor]:
        """Go from levels[i] to levels[i + 1]; return the new state and the x_0 predicted on the way."""
        t, s = levels[i], levels[i + 1]
        x0 = denoise(state.x, t)
        x = self._corrected(with_signal(state.history), Seen(t, state.x, x0)) if state.history else state.x
        history = (Seen(t, x, x0), *state.history)[: self.order]
        moved = x0 if s.is_data else self._moved(with_signal(history), s, lambda: noise(i))
        return SamplerState(moved, history), x0

    @abstractmethod
    def _moved(self, history: Sequence[Seen], s: NoiseLevel, noise: Callable[[], Tensor]) -> Tensor:
        """Return the images at level `s`, which is not data.

        Args:
            history: one to `order` levels, the newest first; the newest alone may be pure noise.
            s: where to go.
            noise: draws standard normal noise [B, ...], for stochastic samplers.
        """

    def _corrected(self, history: Sequence[Seen], newest: Seen) -> Tensor:
        """Return the newest images, or better ones at their level now that x_0 was predicted from them."""
        return newest.x


def with_signal(history: Sequence[Seen]) -> list[Seen]:
    """Return the newest of a history down to where there was pure noise, whose log-SNR is infinite.

    The newest of all is among them in any case, for a step that needs no other.
    """
    return [*history[:1], *takewhile(lambda seen: float(seen.level.alpha) > 0, history[1:])]


def straight(seen: Seen, s: NoiseLevel) -> Tensor:
    """Return the images at level `s` on the line through the predicted ones and the implied noise.

    That is DDIM's step, exact where predictions do not change on the way. It is defined from pure noise, and
    to data.
    """
    kept = s.sigma / seen.level.sigma
    return along(kept, seen.x) * seen.x + along(s.alpha - kept * seen.level.alpha, seen.x) * seen.x0


def rho(level: NoiseLevel) -> Tensor:
    """Return the noise per signal, float64 []: infinite for pure noise."""
    return level.sigma / level.alpha


def by_slopes(history: Sequence[Seen], s: NoiseLevel, weights: Sequence[Tensor | float]) -> Tensor:
    """Return the images at level `s` that a weighted sum of slopes leads to.

    Along rho the images y = x / alpha have the slope eps, the implied noise.

    Args:
        history: the newest first.
        s: the level to go to.
        weights: of the slopes seen before the newest, in units of rho; the rest of the step is the newest's.
    """
    newest, *older = history
    x = straight(newest, s)
    slope = implied_noise(newest.x, newest.x0, newest.level)
    for seen, weight in zip(older, weights, strict=True):
        before = implied_noise(seen.x, seen.x0, seen.level)
        x = x + along(s.alpha * weight, x) * (before - slope)
    return x
