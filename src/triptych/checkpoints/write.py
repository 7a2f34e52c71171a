"""Writing a checkpoint: aside, flushed, read back, then published by one rename."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych.checkpoints import manifest as manifests
from triptych.checkpoints.commit import commit, free_name
from triptych.checkpoints.contents import Contents
from triptych.checkpoints.durable import Proceed, always, aside, sync_folder, write_file
from triptych.checkpoints.manifest import BrokenCheckpoint, ListedFile, Manifest
from triptych.checkpoints.names import parse
from triptych.checkpoints.tensor_file import encoded, split
from triptych.checkpoints.verify import verify
from triptych.errors import UserError

MARGIN = 1 << 20
"""Bytes of free space asked for beyond the tensors: headers, state, manifest, the file system's own."""


SUFFIX = ".safetensors"
"""Of a file of tensors."""
LONGEST_STEM = 49
"""Letters of a part's name that the names of its files begin with, where it has several."""


class NonFiniteWeights(ArithmeticError):  # noqa: N818
    """Tensor `name` of `part` holds NaN or infinity, so that no checkpoint was written."""

    def __init__(self, part: str, name: str):
        super().__init__(f"{name} in {part} is not finite everywhere; no checkpoint was written")
        self.part, self.name = part, name


def write(root: Path, name: str, contents: Contents, largest: int | None = None) -> Path:
    """Write `contents` as the checkpoint `root/name` and return that folder.

    Where a checkpoint of that name exists, it stays valid until the new one takes its place. A part becomes
    one file, or several where that one would have more than `largest` bytes.

    Raises NonFiniteWeights; UserError where the disk is full, read-only or failing (what was there
    before is untouched, what was begun is removed); ValueError for a name or a state that could not
    be read back.
    """
    refuse_non_finite(contents)
    return write_finite(root, name, contents, largest=largest)


def write_finite(
    root: Path, name: str, contents: Contents, proceed: Proceed = always, largest: int | None = None
) -> Path:
    """Do as `write` does with weights that are known to be finite, without arithmetic on them.

    `proceed` is asked before every chunk of a file, and last before the checkpoint is published; whatever it
    raises leaves everything as it was.
    """
    if parse(name) is None:
        raise ValueError(f"{name!r} is no checkpoint name")
    if not all(manifests.PART_NAME.fullmatch(part) for part in contents.tensors):
        raise ValueError(f"parts of a checkpoint cannot be called {list(contents.tensors)}")
    state = _encode_state(contents.state)
    try:
        return _write(root, name, contents.tensors, state, proceed, largest)
    except BrokenCheckpoint as error:
        raise _failure(root / name, f"what was read back differs: {error.reason}") from error
    except OSError as error:
        raise _failure(root / name, error.strerror or str(error)) from error


def _write(
    root: Path,
    name: str,
    tensors: dict[str, dict[str, Tensor]],
    state: bytes,
    proceed: Proceed,
    largest: int | None,
) -> Path:
    folder = root / name
    if not root.is_dir():
        root.mkdir(parents=True)
        sync_folder(root.parent)
    _require_space(folder, sum(t.nbytes for part in tensors.values() for t in part.values()) + len(state))
    with aside(root, name) as staged:
        parts = {}
        for part, named in tensors.items():
            pieces = split(named, largest)
            stems = [part] if len(pieces) == 1 else [_stem(part, i, len(pieces)) for i in range(len(pieces))]
            parts[part] = tuple(
                _write_listed(staged, free_name(folder, stem, SUFFIX), encoded(piece), proceed)
                for stem, piece in zip(stems, pieces, strict=True)
            )
        listed = _write_listed(staged, free_name(folder, "state", ".json"), [state], proceed)
        write_file(staged / manifests.FILE_NAME, [Manifest(parts, listed).encode()])
        sync_folder(staged)
        verify(staged)
        proceed()
        if os.path.lexists(folder):
            commit(staged, folder)
        else:
            os.rename(staged, folder)
        sync_folder(root)
    return folder


def _stem(part: str, piece: int, pieces: int) -> str:
    """Return what a part's file is called that is one of several, without its suffix."""
    return f"{part[:LONGEST_STEM]}-{piece + 1:05d}-of-{pieces:05d}"


def _write_listed(
    folder: Path, name: str, data: Iterable[bytes | memoryview], proceed: Proceed
) -> ListedFile:
    """Write a file, and describe it as the manifest does."""
    digest, size = hashlib.sha256(), 0

    def counted() -> Iterator[bytes | memoryview]:
        nonlocal size
        for piece in data:
            digest.update(piece)
            size += len(piece)
            yield piece

    write_file(folder / name, counted(), proceed)
    return ListedFile(name, size, digest.hexdigest())


def _encode_state(state: dict[str, Any]) -> bytes:
    """Return `state` as JSON that reads back equal; raises ValueError where none does (NaN, tuples)."""
    data = json.dumps(state, indent=1, allow_nan=False).encode()
    if json.loads(data) != state:
        raise ValueError("the state of a checkpoint must be JSON: lists, not tuples; str as keys")
    return data


def refuse_non_finite(contents: Contents) -> None:
    """Raise NonFiniteWeights where weights or an average of them are not finite everywhere."""
    # Images are drawn from these parts: a NaN there would replace the last good model by a dead one.
    published = (
        part for part in contents.tensors if part == manifests.WEIGHTS or manifests.AVERAGE.fullmatch(part)
    )
    for part in published:
        for name, tensor in contents.tensors[part].items():
            if not _is_finite(tensor):
                raise NonFiniteWeights(part, name)


def _is_finite(tensor: Tensor) -> bool:
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.element_size() == 1:  # the 8-bit formats know no order
        tensor = tensor.float()
    # Both are NaN where anything is. One pass, and a fifth of the time of asking every number.
    least, most = torch.aminmax(tensor.detach())
    return bool(least.isfinite() & most.isfinite())


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder.parent).free
    if free < size + MARGIN:
        raise _failure(folder, f"it takes {size / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free")


def _failure(folder: Path, found: str) -> UserError:
    return UserError(
        f"save checkpoint {folder}",
        found,
        "nothing that was saved before is touched: mend that, and give the same command to go on from there",
    )
