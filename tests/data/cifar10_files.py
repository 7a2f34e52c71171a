"""Small sets in CIFAR-10's own layout, and archives of all kinds."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FOLDER = "cifar-10-batches-py"


def batch(count: int, seed: int) -> dict:
    """Return the dictionary of a batch of so many random images, with Python 2's keys."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
    return {b"data": pixels, b"labels": random.integers(0, 10, count).tolist(), b"batch_label": b"some"}


def contents(protocol: int = 2) -> dict[str, bytes]:
    """Return the seven files of a small set; its batches differ in length."""
    files = {f"data_batch_{i}": pickle.dumps(batch(i, i), protocol) for i in range(1, 6)}
    files["test_batch"] = pickle.dumps(batch(3, 6), protocol)
    files["batches.meta"] = pickle.dumps({b"label_names": [c.encode() for c in CLASSES]}, protocol)
    return files


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def plain(name: str, content: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of an archive: a file of this name and content."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """Return a member that is a link or a device."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def archive(path: Path, files: dict[str, bytes], *others: tuple[tarfile.TarInfo, bytes]) -> Path:
    """Write an archive of the files, after any other members; its ending says whether it is zipped."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for member, content in (*others, *(plain(f"{FOLDER}/{name}", c) for name, c in files.items())):
            tar.addfile(member, io.BytesIO(content))
    return path
