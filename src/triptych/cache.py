"""Trained weights in a cache folder: safetensors files that vouch for their own content.

A file's metadata holds the sha256 of its tensors. A file that cannot be read, or whose tensors have
another hash, is reported and treated as absent. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import warnings
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def cache_folder() -> Path:
    """Return where caches live: TRIPTYCH_CACHE, else `triptych` in the platform's cache folder."""
    if chosen := os.environ.get("TRIPTYCH_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "triptych"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "triptych"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triptych"


def weights_digest(weights: dict[str, Tensor]) -> str:
    """Return the sha256, hexadecimal, of names, types, shapes and values of all tensors."""
    h = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        h.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        h.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return h.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor] | None:
    """Return the weights in `path`, or None, with a warning, where the file is absent or damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            promised = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError) as error:
        problem = str(error)
    else:
        if promised == weights_digest(weights):
            return weights
        problem = "its tensors do not have the sha256 that it names"
    warnings.warn(f"cached weights {path} are damaged ({problem}): making them anew", stacklevel=2)
    return None


def write_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write `weights` to `path`, aside first and renamed once whole, so that no reader meets a part.

    A cache that cannot be written (a full disk, a folder without permission) is reported, not fatal.
    """
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        on_cpu = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
        save_file(on_cpu, aside, {"sha256": weights_digest(on_cpu)})
        os.replace(aside, path)
    except (SafetensorError, OSError) as error:
        warnings.warn(f"cannot cache weights in {path} ({error}): going on without", stacklevel=2)
    finally:
        if aside is not None:
            Path(aside).unlink(missing_ok=True)
