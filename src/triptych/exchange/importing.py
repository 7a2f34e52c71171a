"""A model read from another program's files, whichever these are."""

from __future__ import annotations

import os
from pathlib import Path

from triptych.errors import UserError
from triptych.exchange.diffusers_folder import INDEX, NETWORK, read_folder
from triptych.exchange.dit_checkpoint import WEIGHTS, read_checkpoint
from triptych.exchange.foreign import Foreign
from triptych.record.record import FILE_NAME

SUFFIXES = (".pt", ".pth", ".safetensors")
"""What files of weights are called: one that is missing is told of as a file."""


def read_model(path: Path, null_class: str | None = None, heads: int | None = None) -> Foreign:
    """Return the model at a path, checked.

    Args:
        path: a folder of diffusers, or a checkpoint of DiT: a file, or the folder that our export wrote.
        null_class: `last`, if the caller knows that the last class embedding is that of no class, which
            DiT's is taken to be anyhow.
        heads: attention heads, where the caller knows them; of a checkpoint alone.

    Raises:
        UserError: there is nothing, it is damaged, or it says what cannot be represented here.
    """
    if os.path.isdir(path):
        if os.path.isfile(path / FILE_NAME):
            raise UserError(f"import {path}", "it is a run already", "sample or evaluate it where it lies")
        if os.path.isfile(path / WEIGHTS) and not any((path / name).exists() for name in (INDEX, NETWORK)):
            return read_checkpoint(path / WEIGHTS, heads)
    elif os.path.isfile(path) or path.suffix in SUFFIXES:
        return read_checkpoint(path, heads)
    if heads is not None and os.path.isdir(path):
        found = "a folder of diffusers says how many there are"
        raise UserError(f"import {path} --heads {heads}", found, "leave --heads out")
    return read_folder(path, null_class)
