"""Samplers and the grids they walk down: every sampler is one file and one line in `SAMPLERS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triptych.diffusion.noise_level import NoiseLevel
from triptych.diffusion.schedules import NoiseSchedule
from triptych.errors import UserError
from triptych.sampling.ddim import DDIM
from triptych.sampling.ddpm import DDPM
from triptych.sampling.deis import DEIS
from triptych.sampling.dpm_solver import DPMSolver
from triptych.sampling.grids import GRIDS
from triptych.sampling.ipndm import IPNDM
from triptych.sampling.presets import PRESETS, single
from triptych.sampling.runge_kutta import Euler, Heun
from triptych.sampling.sampler import Sampler
from triptych.sampling.unipc import UniPC
from triptych.specs import no_such_option, options_of, read_options, written

SAMPLERS: dict[str, type[Sampler]] = {
    "ddpm": DDPM,
    "ddim": DDIM,
    "euler": Euler,
    "heun": Heun,
    "dpm++": DPMSolver,
    "unipc": UniPC,
    "ipndm": IPNDM,
    "deis": DEIS,
}
"""Every sampler by the name that recipes use."""

SPACING = "trailing"
"""The grid of a sampler that is named without one."""

MOST_STEPS = 100_000
"""A hundred times as many as a schedule has: more is a typing error that would take days."""


@dataclass(frozen=True)
class SamplerConfig:
    """A sampler with its options, the number of its steps, and the grid that it walks down."""

    name: str
    """Name of the sampler."""
    steps: int
    """Number of steps, 1 to 100,000."""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Options of the sampler that are not to have their defaults."""
    spacing: str = SPACING
    """Grid of times: trailing (begins at pure noise), leading (DDIM's own), log-snr or karras (EDM's)."""
    clip: bool = True
    """Whether predicted images are clamped to [-1, 1] in every step, after guidance."""

    def __post_init__(self) -> None:
        """Raise `UserError` where there is no such sampler, grid or option, or one is out of range."""
        known = defaults_of(self.name)
        for option in self.options:
            if option not in known:
                raise no_such_option(f"sampler {self.name}", option, known | {"spacing": SPACING})
        if self.spacing not in GRIDS:
            raise UserError(f"spacing {self.spacing}", "no such grid", f"choose from {', '.join(GRIDS)}")
        if not 1 <= self.steps <= MOST_STEPS:
            found = f"{self.steps} steps, each of them a call of the network"
            raise UserError(f"sampler {self.name}", found, f"choose 1 to {MOST_STEPS:,}")
        self.build()

    @property
    def label(self) -> str:
        """How tables name it: `ddim:50`, with what differs from the default: `ddim:50,eta=0.5`.

        `named_sampler` takes it back.
        """
        defaults = defaults_of(self.name) | {"spacing": SPACING}
        chosen = defaults | dict(self.options) | {"spacing": self.spacing}
        return ",".join([f"{self.name}:{self.steps}", *written(chosen, defaults)])

    def build(self) -> Sampler:
        """Return the sampler."""
        return SAMPLERS[self.name](**self.options)

    def levels(self, schedule: NoiseSchedule) -> list[NoiseLevel]:
        """Return the noise levels it walks down, from the noisiest to data: steps + 1 of them."""
        return [schedule.level(t) for t in GRIDS[self.spacing](self.steps, schedule)]


def named_sampler(spec: str, **settings: Any) -> SamplerConfig:
    """Return the sampler that `ddim`, `ddim:50` or `ddim:50,eta=0.5,spacing=leading` names.

    Args:
        spec: name, number of steps if not the sampler's usual one, and options that differ from the default;
            or a preset.
        settings: `steps`, `spacing`, `clip` and options of the sampler; they go before what `spec` says.

    Raises:
        UserError: there is no such sampler or option, or a value is out of range.
    """
    name, said = read_spec(single(spec))
    chosen = said | settings
    return SamplerConfig(
        name,
        steps=chosen.pop("steps", SAMPLERS[name].usual_steps),
        spacing=chosen.pop("spacing", SPACING),
        clip=chosen.pop("clip", True),
        options=chosen,
    )


def read_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a sampler and the settings that a spec adds: `ddim:50` gives ddim, {steps: 50}.

    Raises:
        UserError: there is no such sampler or option, or a value is of another kind.
    """
    head, *parts = spec.split(",")
    name, _, steps = head.partition(":")
    defaults = defaults_of(name) | {"spacing": SPACING}
    said: dict[str, Any] = {}
    if steps:
        if not (steps.isdecimal() and len(steps) <= len(str(MOST_STEPS))):
            found = f"{steps[:20]!r} is no number of steps"
            raise UserError(f"sampler {name}", found, f"write it like {name}:50, at most {MOST_STEPS:,}")
        said["steps"] = int(steps)
    return name, said | read_options(f"sampler {name}", spec, parts, defaults)


def defaults_of(name: str) -> dict[str, Any]:
    """Return the options of a sampler with their defaults; UserError: there is no such sampler."""
    if name not in SAMPLERS:
        known = ", ".join([*SAMPLERS, *PRESETS])
        raise UserError(f"sampler {name}", "no such sampler", f"choose from {known}")
    return options_of(SAMPLERS[name])
