"""Reading a checkpoint: what was hashed is what is loaded, and nothing is ever unpickled."""

from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from safetensors import torch as safetensors
from torch import Tensor

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.manifest import BrokenCheckpoint, ListedFile, Manifest
from triptych.checkpoints.verify import checked_bytes, read_state


def read(folder: Path, parts: Collection[str] | None = None, device: torch.device | str = "cpu") -> Contents:
    """Read `parts` (None: all) of the checkpoint in `folder`, with its state, onto `device`.

    Only the bytes of what is read are checked. Raises BrokenCheckpoint, also for a part that is not
    there: a thinned checkpoint holds the EMA weights alone.
    """
    manifest = Manifest.load(folder)
    wanted = tuple(manifest.parts) if parts is None else tuple(parts)
    for part in wanted:
        if part not in manifest.parts:
            raise BrokenCheckpoint(
                folder, f"it holds no {part} (only {', '.join(manifest.parts) or 'its state'})"
            )
    state = read_state(folder, manifest)
    return Contents({part: _part(folder, manifest.parts[part], device) for part in wanted}, state)


def _part(folder: Path, files: Sequence[ListedFile], device: torch.device | str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file in files:
        found = _decode(folder, file, device)
        if twice := sorted(tensors.keys() & found.keys()):
            raise BrokenCheckpoint(folder, f"{file.name} holds {twice[0][:80]!r}, as a file before it does")
        tensors |= found
    return tensors


def _decode(folder: Path, file: ListedFile, device: torch.device | str) -> dict[str, Tensor]:
    data = checked_bytes(folder, file)
    try:
        tensors = safetensors.load(data)
    except Exception as error:  # a header that lies can fail in any way that the parser did not foresee
        reason = " ".join(str(error).split())[:120]
        raise BrokenCheckpoint(folder, f"{file.name} is no safetensors file ({reason})") from error
    return {name: tensor.to(device) for name, tensor in tensors.items()}
