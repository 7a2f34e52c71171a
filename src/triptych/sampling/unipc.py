"""UniPC: a predictor and a corrector of the same polynomial, for one evaluation a step (arXiv 2302.04867)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from triptych.diffusion.noise_level import NoiseLevel, along
from triptych.errors import UserError
from triptych.sampling.multistep import Multistep, Seen, straight

Function = Literal["bh1", "bh2"]


@dataclass(frozen=True)
class UniPC(Multistep):
    """Predict from the last x_0; correct the images by the new one before the next step (algorithms 1, 2).

    The images that the network saw are corrected afterwards: its prediction is not made again.
    """

    usual_steps = 10
    highest = 3

    order: int = 3
    """Predictions that a predictor extrapolates from, 1 to 3; the corrector's order is one higher."""
    function: Function = "bh2"
    """B(h): `bh1`, h itself, or `bh2`, 1 - e^-h, by which the lowest order is weighted."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is out of range."""
        super().__post_init__()
        if self.function not in get_args(Function):
            raise UserError("sampler unipc", f"function {self.function}", "choose bh1 or bh2")

    def _moved(self, history: Sequence[Seen], s: NoiseLevel, noise: Callable[[], Tensor]) -> Tensor:
        """Return the predicted images at level `s`."""
        return self._by_polynomial(history, s, history[1:])

    def _corrected(self, history: Sequence[Seen], newest: Seen) -> Tensor:
        """Return the images at the newest level by a polynomial through its prediction, too."""
        return self._by_polynomial(history, newest.level, [*history[1:], newest])

    def _by_polynomial(self, history: Sequence[Seen], s: NoiseLevel, others: Sequence[Seen]) -> Tensor:
        """Return the images at `s`, from the newest of a history, by its prediction and `others`."""
        start = history[0]
        x = straight(start, s)
        if float(start.level.alpha) == 0:
            return x
        h = (s.log_snr - start.level.log_snr) / 2
        gaps = [(seen.level.log_snr - start.level.log_snr) / (2 * h) for seen in others]
        for weight, gap, seen in zip(self._weights(gaps, h), gaps, others, strict=True):
            x = x + along(s.alpha * weight / gap, x) * (seen.x0 - start.x0)
        return x

    def _weights(self, gaps: Sequence[Tensor], h: Tensor) -> Sequence[Tensor]:
        """Return the weights of divided differences over `gaps`, in units of the step h.

        They make the step exact for polynomials in lambda of as high a degree as there are differences. Where
        there is one alone, the paper simplifies its weight to B(h) / 2.
        """
        if len(gaps) == 0:
            return []
        if len(gaps) == 1:
            return [(h if self.function == "bh1" else -(-h).expm1()) / 2]
        moments, phi, factorial = [], (-h).expm1() / -h - 1, 1
        for k in range(1, len(gaps) + 1):
            moments.append(-phi * factorial)
            factorial *= k + 1
            phi = phi / -h - 1 / factorial
        powers = torch.stack([torch.stack(list(gaps)) ** k for k in range(len(gaps))])
        return list(torch.linalg.solve(powers, torch.stack(moments)))
