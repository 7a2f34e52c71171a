"""Samplers by what they are for: a word in place of a sampler, its steps and its grid.

Which sampler a word stands for was measured; see `docs/diffusion.md`. What is recorded is the sampler itself.
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
    """Return samplers with presets replaced by what they stand for."""
    return tuple(spec for word in specs for spec in PRESETS.get(word, (word,)))


def single(word: str) -> str:
    """Return the sampler that a word stands for, where it is a preset; UserError: it stands for several."""
    found = PRESETS.get(word, (word,))
    if len(found) > 1:
        raise UserError(f"sampler {word}", f"it stands for {' and '.join(found)}", "name one of them")
    return found[0]
