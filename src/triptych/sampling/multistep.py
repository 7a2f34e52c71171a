"""What samplers with a memory share: what they saw at earlier levels, and a step that needs no memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel, along
from triptych.sampling.sampler import implied_noise


class Seen(NamedTuple):
    """Images [B, ...] at a level of the grid, and the clean ones that were predicted from them.

    The history of every sampler with a memory is a tuple of these, the newest first.
    """

    level: NoiseLevel
    x: Tensor
    x0: Tensor


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
