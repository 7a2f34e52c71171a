"""What a disk, a crash or a careless hand may do to a checkpoint."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from triptych.checkpoints.manifest import BrokenCheckpoint, ListedFile
from triptych.checkpoints.verify import verify

DAMAGES = {
    "truncated": "weights.safetensors has ",
    "bit flipped": "weights.safetensors was altered",
    "emptied": "weights.safetensors has 0 bytes",
    "without manifest": "it has no manifest",
    "gone": "its folder is gone, though the record tells of it",
}
"""Each with what is said of it."""


def listed(name: str, data: bytes) -> ListedFile:
    """Describe the file `name` that holds `data`, as a manifest does."""
    return ListedFile(name, len(data), hashlib.sha256(data).hexdigest())


def damage(folder: Path, how: str) -> None:
    """Do one of the DAMAGES to the checkpoint in `folder`."""
    weights = folder / "weights.safetensors"
    match how:
        case "truncated":
            weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
        case "bit flipped":
            data = bytearray(weights.read_bytes())
            data[-1] ^= 16
            weights.write_bytes(data)
        case "emptied":
            weights.write_bytes(b"")
        case "without manifest":
            (folder / "manifest.json").unlink()
        case "gone":
            shutil.rmtree(folder)


def broken(folder: Path, check: Callable[[Path], object] = verify) -> str:
    """The one-line reason for which `check` refuses the checkpoint."""
    with pytest.raises(BrokenCheckpoint) as caught:
        check(folder)
    assert caught.value.folder == folder
    assert "\n" not in str(caught.value)
    return caught.value.reason


def rewrite(folder: Path, change: Callable[[dict], None]) -> None:
    """Alter the manifest as one would who knows the format: with its own sha256 made right again."""
    path = folder / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["sha256"]
    change(fields)
    digest = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
    path.write_text(json.dumps({**fields, "sha256": digest}, indent=1) + "\n")
