"""Samplers and the grids they walk down: every sampler is one file and one line in `SAMPLERS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from triptych.diffusion.noise_level import NoiseLevel
from triptych.diffusion.schedules import NoiseSchedule
from triptych.errors import UserError
from triptych.sampling.ddim import DDIM
from triptych.sampling.ddpm import DDPM
from triptych.sampling.grids import GRIDS
from triptych.sampling.sampler import Sampler

SAMPLERS: dict[str, Callable[[SamplerConfig], Sampler]] = {
    "ddpm": lambda config: DDPM(config.variance),
    "ddim": lambda config: DDIM(config.eta),
}
"""Every sampler by the name that recipes use, made from the options that concern it."""

DEFAULT_STEPS = {"ddpm": 1000, "ddim": 50}
"""Steps of a sampler that is named without any."""


@dataclass(frozen=True)
class SamplerConfig:
    """A sampler, the number of its steps, and its options."""

    name: str = "ddim"
    """Name of the sampler."""
    steps: int = 50
    """Number of steps, at least 1."""
    eta: float = 0.0
    """DDIM: 0 deterministic, 1 as noisy as DDPM; 0 <= eta <= 1."""
    variance: Literal["small", "large"] = "small"
    """DDPM: the posterior's own variance, or that of the forward step."""
    spacing: str = "trailing"
    """Grid of times: trailing (begins at pure noise) or leading (DDIM's own)."""
    clip: bool = True
    """Whether predicted images are clamped to [-1, 1] in every step, after guidance."""

    def __post_init__(self) -> None:
        """Raise `UserError` where an option is out of range."""
        if self.name not in SAMPLERS:
            raise UserError(f"sampler {self.name}", "no such sampler", f"choose from {', '.join(SAMPLERS)}")
        if self.spacing not in GRIDS:
            raise UserError(f"spacing {self.spacing}", "no such grid", f"choose from {', '.join(GRIDS)}")
        if self.steps < 1:
            raise UserError(f"sampler {self.name}", f"{self.steps} steps", "take at least 1")
        if not 0 <= self.eta <= 1:
            raise UserError(f"sampler {self.name}", f"eta {self.eta}", "choose 0 <= eta <= 1")

    @property
    def label(self) -> str:
        """How tables name it: `ddim:50`, with the options that differ from the default."""
        extras = [f"eta={self.eta:g}"] if self.name == "ddim" and self.eta else []
        extras += [self.variance] if self.name == "ddpm" and self.variance != "small" else []
        extras += [self.spacing] if self.spacing != "trailing" else []
        return f"{self.name}:{self.steps}" + "".join(f",{extra}" for extra in extras)

    def build(self) -> Sampler:
        """Return the sampler."""
        return SAMPLERS[self.name](self)

    def levels(self, schedule: NoiseSchedule) -> list[NoiseLevel]:
        """Return the noise levels it walks down, from the noisiest to data: steps + 1 of them."""
        return [schedule.level(t) for t in GRIDS[self.spacing](self.steps, schedule.steps)]


def named_sampler(spec: str, base: SamplerConfig | None = None) -> SamplerConfig:
    """Return the sampler that `ddim`, `ddim:50` or `ddpm:1000` names, with the other options of `base`.

    Raises:
        UserError: no such sampler, or the steps are no number.
    """
    name, _, steps = spec.partition(":")
    if name not in SAMPLERS:
        raise UserError(f"sampler {spec}", "no such sampler", f"choose from {', '.join(SAMPLERS)}")
    if steps and not steps.isdecimal():
        raise UserError(f"sampler {spec}", f"{steps!r} is no number of steps", f"write it like {name}:50")
    return replace(base or SamplerConfig(), name=name, steps=int(steps or DEFAULT_STEPS[name]))
