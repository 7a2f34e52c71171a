"""The options that choose samplers and guidance, which several verbs share. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from triptych.errors import UserError

if TYPE_CHECKING:
    from triptych.guidance import Guide
    from triptych.sampling import SamplerConfig


@dataclass(frozen=True)
class SamplerOptions:
    """Details of the sampler, where its name does not say them: `ddim:50,eta=0.5` needs none of these."""

    steps: int | None = None
    """Number of steps: `ddim --steps 50` means `ddim:50`."""
    eta: float | None = None
    """DDIM, DPM-Solver++: 0 deterministic (the default), 1 as noisy as DDPM, or as the reverse SDE."""
    variance: str | None = None
    """DDPM: small, the posterior's own variance (its default), or large, that of the forward step."""
    spacing: str | None = None
    """Grid of times: trailing begins at pure noise (the default), leading is DDIM's own, log-snr is even in
    the logarithm of the signal-to-noise ratio, karras is EDM's."""
    clip: bool = True
    """Clamp predicted images to [-1, 1] in every step, after guidance."""


def chosen_samplers(
    specs: Sequence[str], options: SamplerOptions, defaults: Sequence[str]
) -> list[SamplerConfig]:
    """Return the samplers that were typed, or else the defaults, each once, with the details that were typed.

    Args:
        specs: such as `ddim:50`, or presets; empty if none was typed.
        options: the details that were typed. They go before a default's own. Where no sampler was typed, they
            are meant for the first of several defaults; clipping, which every sampler has, for all.
        defaults: the samplers where none was typed.

    Raises:
        UserError: see `chosen_sampler`.
    """
    from triptych.sampling.presets import PRESETS, expanded, with_options

    detailed = [name for name, value in asdict(options).items() if name != "clip" and value is not None]
    for spec in specs:
        if spec in PRESETS and detailed:
            raise with_options(spec, f"{spec} with --{detailed[0]}")
    specs = expanded(specs)
    details_alone = not specs and options != SamplerOptions(clip=options.clip)
    chosen = specs or (defaults[:1] if details_alone else defaults)
    typed = specs if specs else [None] * len(chosen)
    found = [chosen_sampler(spec, options, default) for spec, default in zip(typed, chosen, strict=True)]
    return list(dict.fromkeys(found))


def guided(
    scales: Sequence[float],
    guides: Sequence[str],
    usual: Sequence[float],
    usual_guides: Sequence[str],
    *,
    conditional: bool,
) -> list[tuple[float, Guide]]:
    """Return every scale with every way to guide, each once.

    Args:
        scales: those that were typed.
        guides: those that were typed.
        usual: the scales where none was typed. An unconditional model has them only where it is led away from
            another model.
        usual_guides: the ways to guide where none was typed.
        conditional: whether the model is told classes.

    Raises:
        UserError: there is no such way to guide, or one was typed and there is no scale above 1.
    """
    from triptych.guidance import named_guide

    ways = [named_guide(guide) for guide in guides or usual_guides]
    chosen = scales or (usual if conditional or any(way.against for way in ways) else (0.0,))
    if guides and max(chosen) <= 1:
        found = f"no scale is above 1, and {' or '.join(f'{scale:g}' for scale in chosen)} guides nothing"
        raise UserError(f"--guide {' '.join(guides)}", found, "add --guidance 2, for example")
    return list(dict.fromkeys((scale, way) for scale in chosen for way in ways))


def chosen_sampler(spec: str | None, options: SamplerOptions, default: str) -> SamplerConfig:
    """Return the sampler that `ddim:50`, or `ddim` with `--steps 50`, and the other options mean.

    Args:
        spec: the sampler that was typed, None if none was.
        options: the details that were typed.
        default: the sampler where none was typed; typed details go before its own.

    Raises:
        UserError: no such sampler or option, one out of range, or one typed twice with different values.
    """
    from triptych.sampling import named_sampler, read_spec

    typed = {name: value for name, value in asdict(options).items() if value is not None}
    said = read_spec(spec)[1] if spec else {}
    for name, value in said.items():
        if typed.get(name, value) != value:
            asked = f"--sampler {spec} --{name} {typed[name]}"
            raise UserError(asked, f"two values of {name}", "give one of them")
    return named_sampler(spec or default, **typed)
