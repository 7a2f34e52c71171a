"""Which weights of a checkpoint a word means: one of their averages, the better one, or the raw ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triptych.checkpoints.manifest import AVERAGE, WEIGHTS, Manifest
from triptych.checkpoints.names import parse
from triptych.checkpoints.verify import read_state
from triptych.errors import UserError

USUAL = "ema"
"""The average that is taken where nobody asks for another, and the only one that every run has."""
BEST = "best"
"""The word for the average with the lower held-out error at the checkpoint."""
NONE = "none"
"""The word for the raw weights, of which no average is taken."""
RAW = "raw"
"""What records call the raw weights; averages are called by the part of the checkpoint that holds them."""


def part_of(folder: Path, wanted: str | None) -> str:
    """Return the part of the checkpoint in `folder` that holds the weights which `wanted` means.

    Args:
        folder: of the checkpoint.
        wanted: `ema`, `ema_long`, `best`, or `none` (in records `raw`). None: nobody said; the usual ones, or
            the only ones that it holds.

    Raises:
        UserError: it holds no such weights, or does not know which are best.
        BrokenCheckpoint: its manifest or its state is broken.
    """
    manifest = Manifest.load(folder)
    averages = [part for part in manifest.parts if AVERAGE.fullmatch(part)]
    held = {part: part for part in averages}
    if WEIGHTS in manifest.parts:
        held[NONE] = WEIGHTS
    if wanted is None:
        wanted = next(iter(held)) if len(held) == 1 else USUAL
    word = NONE if wanted == RAW else wanted
    if word == BEST and averages:
        # Of a single average nobody need know the error.
        word = averages[0] if len(averages) == 1 else _best(folder, read_state(folder, manifest), averages)
    if word not in held:
        found = f"it holds {', '.join(manifest.parts) or 'no weights'}"
        words = [*held, *([BEST] if averages else [])]
        remedy = f"choose from {', '.join(words)}" if words else "choose another checkpoint"
        raise UserError(f"--ema {word} of checkpoint {folder}", found, remedy)
    return held[word]


def recorded_name(part: str) -> str:
    """Return what records call the weights that this part of a checkpoint holds."""
    return RAW if part == WEIGHTS else part


def _best(folder: Path, state: Mapping[str, Any], averages: list[str]) -> str:
    """Return the average with the lowest held-out error, by the state's `held_out`; its last entry counts."""
    measured = state.get("held_out")
    for entry in reversed(measured if isinstance(measured, list) else []):
        if isinstance(entry, dict) and parse(str(entry.get("checkpoint"))) == parse(folder.name):
            if (weights := entry.get("weights", USUAL)) in averages:
                return weights
            break
    found = "no held-out error was measured there"
    raise UserError(f"--ema {BEST} of checkpoint {folder}", found, f"choose from {', '.join(averages)}")
