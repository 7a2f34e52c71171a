"""The options that choose a sampler, which several verbs share. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from triptych.errors import UserError

if TYPE_CHECKING:
    from triptych.sampling import SamplerConfig


@dataclass(frozen=True)
class SamplerOptions:
    """Details of the sampler."""

    steps: int | None = None
    """Number of steps, where the sampler's name does not say it: `ddim:50` or `ddim --steps 50`."""
    eta: float = 0.0
    """DDIM: 0 deterministic, 1 as noisy as DDPM."""
    variance: Literal["small", "large"] = "small"
    """DDPM: the posterior's own variance, or that of the forward step."""
    spacing: Literal["trailing", "leading"] = "trailing"
    """Grid of times: trailing begins at pure noise, leading is DDIM's own."""
    clip: bool = True
    """Clamp predicted images to [-1, 1] in every step, after guidance."""


def chosen_sampler(spec: str, options: SamplerOptions) -> SamplerConfig:
    """Return the sampler that `ddim:50`, or `ddim` with `--steps 50`, and the other options mean.

    Raises:
        UserError: no such sampler, an option out of range, or two different numbers of steps.
    """
    from triptych.sampling import SamplerConfig, named_sampler

    base = SamplerConfig(
        eta=options.eta, variance=options.variance, spacing=options.spacing, clip=options.clip
    )
    sampler = named_sampler(spec, base)
    if options.steps is None:
        return sampler
    if ":" in spec and options.steps != sampler.steps:
        raise UserError(
            f"--sampler {spec} --steps {options.steps}", "two numbers of steps", "give one of them"
        )
    return replace(sampler, steps=options.steps)
