"""UniPC: a predictor and a corrector of the same polynomial, for one evaluation a step (arXiv 2302.04867)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel, along
from triptych.errors import UserError
from triptych.sampling.multistep import Seen, straight, with_signal
from triptych.sampling.sampler import Denoise, NoiseSource, Sampler, SamplerState

Function = Literal["bh1", "bh2"]


@dataclass(frozen=True)
class UniPC(Sampler):
    """Predict from the last x_0; correct the images by the new one before the next step (algorithms 1, 2).

    The images that the network saw are corrected afterwards: its prediction is not made again.
    """

    usual_steps = 10

    order: int = 3
    """Predictions that a predictor extrapolates from, 1 to 3; the corrector's order is one higher."""
    function: Function = "bh2"
    """B(h): `bh1`, h itself, or `bh2`, e^h - 1 (section 3.3)."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is out of range."""
        if self.order not in (1, 2, 3):
            raise UserError("sampler unipc", f"order {self.order}", "choose 1, 2 or 3")
        if self.function not in get_args(Function):
            raise UserError("sampler unipc", f"function {self.function}", "choose bh1 or bh2")

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
        x = self._moved(with_signal(state.history), t, x0) if state.history else state.x
        history = (Seen(t, x, x0), *state.history)[: self.order]
        if s.is_data:
            return SamplerState(x0, history), x0
        return SamplerState(self._moved(with_signal(history), s), history), x0

    def _moved(self, history: Sequence[Seen], s: NoiseLevel, ahead: Tensor | None = None) -> Tensor:
        """Return the images at `s`, from the newest of a history; corrected, if x_0 at `s` is known."""
        newest, *older = history
        x = straight(newest, s)
        if float(newest.level.alpha) == 0:
            return x
        h = (s.log_snr - newest.level.log_snr) / 2
        gaps = [(seen.level.log_snr - newest.level.log_snr) / (2 * h) for seen in older]
        changes = [seen.x0 - newest.x0 for seen in older]
        if ahead is not None:
            gaps, changes = [*gaps, torch.ones_like(h)], [*changes, ahead - newest.x0]
        for weight, gap, change in zip(self._weights(gaps, h, ahead is not None), gaps, changes, strict=True):
            x = x + along(s.alpha * weight / gap, x) * change
        return x

    def _weights(self, gaps: Sequence[Tensor], h: Tensor, correcting: bool) -> Sequence[Tensor]:
        """Return the weight of each divided difference, over `gaps` in units of the step, times B(h).

        They make the step exact for polynomials in lambda of as high a degree as there are differences, up to
        the simplification of the lowest order (section 3.2: a_1 = 1/2).
        """
        scale = -h if self.function == "bh1" else (-h).expm1()
        if len(gaps) == 0:
            return []
        if len(gaps) == 1:
            return [-scale / 2]
        right, phi, factorial = [], (-h).expm1() / -h - 1, 1
        for k in range(1, len(gaps) + 1):
            right.append(phi * factorial)
            factorial *= k + 1
            phi = phi / -h - 1 / factorial
        powers = torch.stack([torch.stack(list(gaps)) ** k for k in range(len(gaps))])
        return list(-torch.linalg.solve(powers, torch.stack(right)))
