"""What a disk, a crash or a careless hand may do to a checkpoint."""

import hashlib
import shutil
from pathlib import Path

from triptych.checkpoints.manifest import ListedFile

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
