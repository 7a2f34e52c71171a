"""Samplers by what they are for: a word in place of a sampler, its steps and its grid.

Which sampler a word stands for was measured; see `docs/diffusion.md`. Configurations and records hold the
sampler itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from triptych.errors import UserError

PRESETS: dict[str, tuple[str, ...]] = {
    "parity": ("ddpm:1000", "ddim:50"),
    "quality": ("unipc:36,spacing=log-snr",),
    "fast": ("deis:10,spacing=karras",),
    "guided": ("deis:20,spacing=karras",),
}
"""`parity`: what published tables of DDPM and DDIM are of. `quality`: the path itself, to half a grey level.
`fast`: to a few, at ten calls. `guided`: for scales of 1.5 and more, whose path is harder to follow."""


def expanded(specs: Sequence[str]) -> tuple[str, ...]:
    """Return samplers with presets replaced by what they stand for; UserError: a preset with options."""
    return tuple(spec for word in specs for spec in _meant(word))


def single(word: str) -> str:
    """Return the sampler that a word stands for, where it is a preset; UserError: it stands for several."""
    found = _meant(word)
    if len(found) > 1:
        raise UserError(f"sampler {word}", f"it stands for {' and '.join(found)}", "name one of them")
    return found[0]


def _meant(word: str) -> tuple[str, ...]:
    name = word.replace(",", ":").partition(":")[0]
    if name in PRESETS and word != name:
        raise with_options(name, word)
    return PRESETS.get(word, (word,))


def with_options(name: str, asked: str) -> UserError:
    """Return the error that steps or options were asked of a preset."""
    stands = " and ".join(PRESETS[name])
    return UserError(f"sampler {asked}", f"{name} has its own steps and options: {stands}", "name a sampler")
