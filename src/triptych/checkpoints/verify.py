"""Is a checkpoint what its manifest says? Answered without torch, from the bytes on disk."""

import hashlib
import json
import stat
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError, safe_open

from triptych.checkpoints.manifest import BrokenCheckpoint, ListedFile, Manifest


def verify(folder: Path) -> Manifest:
    """Check every byte of the checkpoint in `folder` and return its manifest; raises BrokenCheckpoint."""
    manifest = Manifest.load(folder)
    read_state(folder, manifest)
    for files in manifest.parts.values():
        held: set[str] = set()
        for file in files:
            names = _names_in(folder, file)
            if twice := sorted(held & names):
                raise BrokenCheckpoint(
                    folder, f"{file.name} holds {twice[0][:80]!r}, as a file before it does"
                )
            held |= names
    return manifest


def _names_in(folder: Path, file: ListedFile) -> set[str]:
    """Return the names of the tensors in a file, once its bytes match its manifest entry."""
    with _opened(folder, file) as stream:
        _compare(folder, file, hashlib.file_digest(stream, "sha256").hexdigest())
    try:
        with safe_open(folder / file.name, framework="np") as tensors:
            return set(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise BrokenCheckpoint(folder, f"{file.name} is no safetensors file ({_one_line(error)})") from None


def read_state(folder: Path, manifest: Manifest | None = None) -> dict[str, Any]:
    """Return the JSON state of the checkpoint in `folder`, checked; raises BrokenCheckpoint."""
    manifest = manifest or Manifest.load(folder)
    data = checked_bytes(folder, manifest.state)
    try:
        state = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BrokenCheckpoint(folder, f"{manifest.state.name} is no JSON ({_one_line(error)})") from None
    if not isinstance(state, dict):
        raise BrokenCheckpoint(folder, f"{manifest.state.name} is no JSON object")
    return state


def checked_bytes(folder: Path, file: ListedFile) -> bytes:
    """Return the bytes of one file once they match its manifest entry; raises BrokenCheckpoint."""
    with _opened(folder, file) as stream:
        data = stream.read(file.size + 1)
    _compare(folder, file, hashlib.sha256(data).hexdigest())
    return data


@contextmanager
def _opened(folder: Path, file: ListedFile) -> Generator[BufferedReader, None, None]:
    path = folder / file.name
    try:
        status = path.lstat()
        # Asked before opening: a pipe would hang, a link could lead anywhere.
        if not stat.S_ISREG(status.st_mode):
            raise BrokenCheckpoint(folder, f"{file.name} is not a plain file")
        if status.st_size != file.size:
            raise BrokenCheckpoint(folder, f"{file.name} has {status.st_size:,} bytes, not {file.size:,}")
        with open(path, "rb") as stream:
            yield stream
    except FileNotFoundError:
        raise BrokenCheckpoint(folder, f"{file.name} is missing") from None
    except OSError as error:
        raise BrokenCheckpoint(folder, f"{file.name} cannot be read ({error.strerror})") from error


def _compare(folder: Path, file: ListedFile, sha256: str) -> None:
    if sha256 != file.sha256:
        raise BrokenCheckpoint(folder, f"{file.name} was altered: its sha256 is not the manifest's")


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
