"""The manifest: which files make up a checkpoint, how long each is, and its sha256."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from triptych.errors import UserError

FORMATS = (1, 2)
"""Versions of a manifest that are read: the second one is of parts of several files."""
FILE_NAME = "manifest.json"
LARGEST = 1 << 20
"""Bytes. No honest manifest is longer, and a longer one is not read."""

PART_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
PLAIN_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.[0-9]{1,4})?\.(safetensors|json)")
SHA256 = re.compile(r"[0-9a-f]{64}")


WEIGHTS = "weights"
"""Name of the part that holds the weights in training."""
AVERAGE = re.compile(r"ema(_.+)?")
"""Names of parts that hold averaged weights: `ema`, and every other that begins with `ema_`."""


class BrokenCheckpoint(UserError):  # noqa: N818
    """A checkpoint that cannot be trusted: `reason` says in one line what is wrong with `folder`."""

    def __init__(self, folder: Path, reason: str):
        super().__init__(
            f"checkpoint {folder}", reason, "name another one, or `last` for the newest whole one"
        )
        self.folder, self.reason = folder, reason


@dataclass(frozen=True)
class ListedFile:
    """One file as the manifest describes it."""

    name: str
    size: int
    """Bytes."""
    sha256: str

    @classmethod
    def from_json(cls, entry: Any, suffix: str) -> ListedFile:
        """Check an entry of unknown origin; raises ValueError where it could lead out of the folder."""
        if not isinstance(entry, dict) or entry.keys() != {"file", "size", "sha256"}:
            raise ValueError("its manifest has a malformed entry")
        name, size, sha256 = entry["file"], entry["size"], entry["sha256"]
        if not isinstance(name, str) or not PLAIN_FILE_NAME.fullmatch(name) or not name.endswith(suffix):
            raise ValueError(f"its manifest names {str(name)[:80]!r}, which is no plain {suffix} file name")
        if type(size) is not int or size < 0 or not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
            raise ValueError(f"its manifest has a malformed size or sha256 for {name}")
        return cls(name, size, sha256)

    def to_json(self) -> dict[str, Any]:
        """Return the entry that `from_json` reads."""
        return {"file": self.name, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True)
class Manifest:
    """The files of one checkpoint."""

    parts: dict[str, tuple[ListedFile, ...]]
    """Part (`ema`, `weights`, `optimizer`, ...) -> its safetensors file, or several smaller ones."""
    state: ListedFile

    @property
    def files(self) -> tuple[ListedFile, ...]:
        """Return every file that the checkpoint consists of, beside the manifest."""
        return (*chain.from_iterable(self.parts.values()), self.state)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def digest(self, part: str) -> str:
        """Return what a part is known by: the sha256 of its file, or that of its files' sha256s together."""
        digests = [file.sha256 for file in self.parts[part]]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    @property
    def drawable(self) -> tuple[str, ...]:
        """Return the parts that images are drawn from and thinning keeps: averages, or else the weights."""
        averages = tuple(part for part in self.parts if AVERAGE.fullmatch(part))
        return averages or tuple(part for part in self.parts if part == WEIGHTS)

    @property
    def is_full(self) -> bool:
        """Tell whether it holds what images are drawn from, and more than thinning would leave."""
        return 0 < len(self.drawable) < len(self.parts)

    def encode(self) -> bytes:
        """Return the one spelling of this manifest; its last line is the sha256 of the rest."""
        several = any(len(files) > 1 for files in self.parts.values())
        fields = {
            "format": FORMATS[several],
            "parts": {part: _as_json(files) for part, files in sorted(self.parts.items())},
            "state": self.state.to_json(),
        }
        digest = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
        return (json.dumps({**fields, "sha256": digest}, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Parse and check a manifest of unknown origin; raises ValueError with a one-line reason."""
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            raise ValueError("its manifest is not JSON") from None
        if not isinstance(fields, dict) or not isinstance(fields.get("parts"), dict):
            raise ValueError("its manifest lists no parts")
        if fields.get("format") not in FORMATS:
            readable = " and ".join(map(str, FORMATS))
            raise ValueError(
                f"its format is {str(fields.get('format'))[:20]!r}; this program reads {readable}"
            )
        for part in fields["parts"]:
            if not PART_NAME.fullmatch(part):
                raise ValueError(f"its manifest has a part called {part[:80]!r}")
        manifest = cls(
            {part: _files_from_json(entry) for part, entry in fields["parts"].items()},
            ListedFile.from_json(fields.get("state"), ".json"),
        )
        names = [file.name for file in manifest.files]
        if len(set(names)) < len(names):
            raise ValueError("its manifest names a file twice")
        if manifest.encode() != data:
            raise ValueError("its manifest was altered after it was written")
        return manifest

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the manifest in `folder`; raises BrokenCheckpoint."""
        path = folder / FILE_NAME
        try:
            if not stat.S_ISREG(path.lstat().st_mode):  # a pipe would hang, a link could lead anywhere
                raise BrokenCheckpoint(folder, "its manifest is not a plain file")
            with open(path, "rb") as file:
                data = file.read(LARGEST + 1)
        except FileNotFoundError:
            raise BrokenCheckpoint(folder, "it has no manifest: it was never finished") from None
        except OSError as error:
            raise BrokenCheckpoint(folder, f"its manifest cannot be read ({error.strerror})") from error
        if len(data) > LARGEST:
            raise BrokenCheckpoint(folder, "its manifest is longer than any honest one")
        try:
            return cls.decode(data)
        except ValueError as error:
            raise BrokenCheckpoint(folder, str(error)) from None


def _as_json(files: tuple[ListedFile, ...]) -> dict[str, Any] | list[dict[str, Any]]:
    """Return the entry of a part: that of its one file, or a list of those of several."""
    entries = [file.to_json() for file in files]
    return entries[0] if len(entries) == 1 else entries


def _files_from_json(entry: Any) -> tuple[ListedFile, ...]:
    """Check the entry of a part, of unknown origin; raises ValueError."""
    entries = entry if isinstance(entry, list) else [entry]
    if not entries:
        raise ValueError("its manifest has a part without files")
    return tuple(ListedFile.from_json(each, ".safetensors") for each in entries)
