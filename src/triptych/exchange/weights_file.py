"""Tensors from a file of foreign weights; nothing of the file is executed."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import torch as safetensors
from torch import Tensor

from triptych.errors import UserError


class Weights(NamedTuple):
    """What a file of weights holds.

    Attributes:
        tensors: by name, on the CPU.
        digest: sha256 of the file's bytes.
        part: the one of several sets of tensors that these are; empty: there is but one.
    """

    tensors: dict[str, Tensor]
    digest: str
    part: str


def read_weights(path: Path, parts: Sequence[str] = ()) -> Weights:
    """Return the tensors of a file.

    Args:
        path: of a `.safetensors` file, or of one that `torch.save` wrote.
        parts: under which names a training's checkpoint may hold them, beside its optimiser and options, the
            ones to be preferred first.

    Raises:
        UserError: it cannot be read, is damaged, holds anything but tensors, or is too small for them.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _refusal(path, (error.strerror or str(error)).lower()) from error
    try:
        if path.suffix == ".safetensors":
            loaded = safetensors.load(data)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the pickle's protocol, which either is read or is not
                _refuse_compressed(data)
                # The options that a training was started with: a bare record of names and values.
                with torch.serialization.safe_globals([Namespace] if parts else []):
                    loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a file that lies can fail in any way that the parsers did not foresee
        kind = "safetensors" if path.suffix == ".safetensors" else "tensors alone"
        raise _refusal(path, f"it is damaged, or no file of {kind}; nothing of it was run") from error
    if not isinstance(loaded, dict):
        raise _refusal(path, "it holds no tensors by name")
    part = next((name for name in parts if isinstance(loaded.get(name), dict)), "")
    chosen: Any = loaded[part] if part else loaded
    for name, tensor in chosen.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise _refusal(path, f"{str(name)[:60]!r} in it is no tensor")
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise _refusal(path, f"{name[:60]!r} in it is no tensor of plain numbers")
    # A tensor that repeats one number, or shares another's, takes no place in a file, and any in memory.
    if (claimed := sum(tensor.nbytes for tensor in chosen.values())) > len(data):
        raise _refusal(path, f"its tensors claim {claimed:,} bytes, more than the {len(data):,} of the file")
    tensors = {name: tensor.detach() for name, tensor in chosen.items()}
    return Weights(tensors, hashlib.sha256(data).hexdigest(), part)


def _refuse_compressed(data: bytes) -> None:
    """Raise where a file would unpack to more than itself: `torch.save` compresses nothing."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > len(data):
                raise zipfile.BadZipFile("compressed")


def _refusal(path: Path, found: str) -> UserError:
    return UserError(f"import {path}", found, "restore the file from where it came")
