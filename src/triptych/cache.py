"""Tensors in a cache folder, of weights, features or images: safetensors files that vouch for their content.

A file's metadata hold a hash of what is in it. A file that cannot be read, or whose content has another hash,
is reported and treated as absent. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

Content = TypeVar("Content")

ABANDONED = 24 * 3600.0
"""Seconds after which an unfinished file is taken for that of a writer that was killed."""


def weights_digest(weights: dict[str, Tensor]) -> str:
    """Return the sha256, hexadecimal, of names, types, shapes and values of all tensors."""
    h = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        h.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        h.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return h.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor] | None:
    """Return what `write_weights` wrote, or None, with a warning, where it is absent or damaged."""

    def checked(weights: dict[str, Tensor], about: dict[str, str]) -> dict[str, Tensor]:
        if about.get("sha256") != weights_digest(weights):
            raise ValueError("its tensors do not have the sha256 that it names")
        return weights

    return read_tensors(path, "weights", checked)


def write_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write tensors to `path` with their own sha256; see `write_tensors`."""
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
    write_tensors(path, "weights", on_cpu, {"sha256": weights_digest(on_cpu)})


def read_tensors(
    path: Path, what: str, checked: Callable[[dict[str, Tensor], dict[str, str]], Content]
) -> Content | None:
    """Return what the file at `path` holds, or None, with a warning, where it is unreadable or damaged.

    Args:
        path: of a file that `write_tensors` wrote.
        what: what it holds, in the plural, for the warning.
        checked: makes the content of the tensors, which are maps of the file, and of the texts beside them;
            raises ValueError, KeyError or TypeError where they are not what they should be.
    """
    try:
        path.open("rb").close()  # safetensors says of whatever it cannot open that there is no such file
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        warnings.warn(f"cached {what} {path} cannot be read: {reason}: making them anew", stacklevel=3)
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return checked(tensors, file.metadata() or {})
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        warnings.warn(f"cached {what} {path} are damaged ({reason}): making them anew", stacklevel=3)
        return None


def write_tensors(path: Path, what: str, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """Write tensors and texts to `path`, aside first and renamed once whole, so that no reader meets a part.

    A cache that cannot be written (a full disk, a folder without permission) is reported, not fatal. What
    writers that were killed have left in the folder is removed.

    Args:
        path: of the file, which ends in `.safetensors`.
        what: what it holds, in the plural, for the warning.
        tensors: on the CPU.
        about: texts to keep beside them.
    """
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        aside.open("xb").close()
        granted = stat.S_IMODE(aside.stat().st_mode)  # by the umask: safetensors shuts out all other users
        save_file(tensors, aside, about)
        aside.chmod(granted)
        os.replace(aside, path)
    except (SafetensorError, OSError) as error:
        warnings.warn(f"cannot cache {what} in {path} ({error}): going on without", stacklevel=3)
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def _remove_abandoned(folder: Path) -> None:
    """Remove unfinished files that nobody has written to for long."""
    for unfinished in folder.glob(".*.safetensors.*"):
        with suppress(OSError):  # another process was quicker, or they are another user's
            if time.time() - unfinished.stat().st_mtime > ABANDONED:
                unfinished.unlink()
