"""Features on disk, batch by batch as they come: no memory for them, and none is measured twice after a kill.

A store is a folder. Each output of an extractor is one file of float32 numbers, N rows of D, in which every
batch has its place from the start; `batches.jsonl` tells which are there, each with the sha256 of its rows.
What a kill, a full disk or a stranger left there that does not match is measured again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych.errors import UserError

PLAN, JOURNAL, SUFFIX = "plan.json", "batches.jsonl", ".f32"
BYTES = 4
"""Of a number."""


@dataclass(frozen=True)
class Spent:
    """What a batch took: seconds to draw and to measure it, and evaluations of the network per image."""

    drawing: float = 0.0
    measuring: float = 0.0
    calls: int = 0


class FeatureStore:
    """Rows of features of `count` images in `folder`, which come in batches of fixed places.

    Args:
        folder: of the store; made with the first batch. One process at a time writes there.
        widths: D of each output, by name.
        count: N.
        batch_size: images of each batch but the last.
        identity: of what is measured by what: a store of another identity is begun anew.
    """

    def __init__(
        self, folder: Path, widths: Mapping[str, int], count: int, batch_size: int, identity: str
    ) -> None:
        self.folder, self.widths, self.count, self.batch_size = folder, dict(widths), count, batch_size
        self._plan = {
            "identity": hashlib.sha256(identity.encode()).hexdigest(),
            "widths": self.widths,
            "count": count,
            "batch_size": batch_size,
        }
        self.spent: dict[int, Spent] = {}
        """By number of the batch: those that are there, as far as `read` and `write` know."""

    @property
    def missing(self) -> list[int]:
        """Numbers of the batches that are still to be measured, ascending."""
        return [batch for batch in range(-(-self.count // self.batch_size)) if batch not in self.spent]

    def left(self) -> int:
        """Return how many images are still to be measured, by what is on the disk."""
        return sum(len(self.place(batch)) for batch in self.read())

    def finished(self) -> float | None:
        """Return when the last batch was written, in Unix time; None: some are missing, or it is another's.

        By what the journal says: no row is read, and nothing is removed.
        """
        try:
            written = (self.folder / JOURNAL).stat().st_mtime
            lines = (self.folder / JOURNAL).read_bytes().split(b"\n")
            plan = json.loads((self.folder / PLAN).read_bytes())
        except (OSError, ValueError):
            return None
        there = {entry[0] for line in lines if (entry := _entry(line)) is not None}
        every = range(-(-self.count // self.batch_size))
        return written if plan == self._plan and there.issuperset(every) else None

    def place(self, batch: int) -> range:
        """Return the numbers of the images of a batch."""
        return range(batch * self.batch_size, min((batch + 1) * self.batch_size, self.count))

    def read(self) -> list[int]:
        """Find out which batches are there, by their bytes; return those that are missing.

        What another store left in the folder is removed. A batch that is not as it was written is missing,
        with a warning.
        """
        self.spent = {}
        try:
            lines = (self.folder / JOURNAL).read_bytes().split(b"\n")
            plan = json.loads((self.folder / PLAN).read_bytes())
        except (OSError, ValueError):  # there is none, or a power cut has spoilt it
            plan = None
        if plan != self._plan:
            shutil.rmtree(self.folder, ignore_errors=True)
            return self.missing
        # Lines that are none were cut off by a kill.
        entries = [entry for line in lines if (entry := _entry(line)) is not None]
        every = self.missing
        for batch, digest, spent in entries:
            if batch in every and self._matches(batch, digest):
                self.spent[batch] = spent
        damaged = {batch for batch, _, _ in entries} - self.spent.keys()
        if damaged:
            found = f"{len(damaged)} of its batches are not as they were written"
            warnings.warn(f"kept features in {self.folder}: {found}: measuring them anew", stacklevel=2)
        return self.missing

    def write(self, batch: int, rows: Mapping[str, Tensor], spent: Spent = Spent()) -> None:
        """Put the rows of a batch, float [B, D] by output, in their place, and note that they are there.

        Raises:
            UserError: the disk refuses; what is there stays.
        """
        data = {name: self._encoded(rows[name], batch) for name in self.widths}
        try:
            self._begin()
            for name, numbers in data.items():
                self._put(name, batch, numbers)
            line = {"batch": batch, "sha256": _digest(data.values()), **asdict(spent)}
            with (self.folder / JOURNAL).open("ab") as journal:
                # The line break goes first, so that a line which was cut off spoils no other.
                journal.write(b"\n" + json.dumps(line).encode())
                journal.flush()
                _flush(journal.fileno())
        except OSError as error:
            raise UserError(
                f"keep the features of images in {self.folder}",
                error.strerror or str(error),
                "mend that, and give the same command to go on from there",
            ) from error
        self.spent[batch] = spent

    def rows(self) -> dict[str, Tensor]:
        """Return all features by output, float32 [N, D], as maps of the files; not to be written to.

        Nothing may be missing.
        """
        assert not self.missing
        return {name: self._map(name).view(self.count, width) for name, width in self.widths.items()}

    def remove(self) -> None:
        """Take the store away, and the folder above where nothing else is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # others are there
            self.folder.parent.rmdir()

    def _matches(self, batch: int, digest: str) -> bool:
        try:
            return digest == _digest(self._get(name, batch) for name in self.widths)
        except OSError:
            return False

    def _begin(self) -> None:
        """Make the folder and its files, where they are not there yet.

        Raises:
            UserError: they were, and are gone: what was measured so far cannot be told from what was not.
        """
        if (self.folder / JOURNAL).exists():
            return
        if self.spent:
            found = "they were removed, or finished by another process, in the middle of the work"
            asked = f"keep the features of images in {self.folder}"
            raise UserError(asked, found, "give the same command again")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for name, width in self.widths.items():
            with self._path(name).open("xb") as file:
                file.truncate(BYTES * self.count * width)
        with (self.folder / PLAN).open("w", encoding="utf-8") as file:
            json.dump(self._plan, file)
            file.flush()
            _flush(file.fileno())
        (self.folder / JOURNAL).touch()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _encoded(self, rows: Tensor, batch: int) -> bytes:
        assert len(rows) == len(self.place(batch))
        return rows.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()

    def _put(self, name: str, batch: int, data: bytes) -> None:
        with self._path(name).open("r+b") as file:
            file.seek(BYTES * self.widths[name] * self.place(batch).start)
            file.write(data)
            file.flush()
            _flush(file.fileno())

    def _get(self, name: str, batch: int) -> bytes:
        width, place = self.widths[name], self.place(batch)
        with self._path(name).open("rb") as file:
            file.seek(BYTES * width * place.start)
            return file.read(BYTES * width * len(place))

    def _map(self, name: str) -> Tensor:
        size = self.count * self.widths[name]
        return torch.from_file(str(self._path(name)), shared=False, size=size, dtype=torch.float32)


def _entry(line: bytes) -> tuple[int, str, Spent] | None:
    """Return number, digest and cost of a batch, as a line of the journal has it; None: it has not."""
    try:
        entry: dict[str, Any] = json.loads(line)
        batch, digest = int(entry.pop("batch")), str(entry.pop("sha256"))
        return batch, digest, Spent(**entry)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _flush(descriptor: int) -> None:
    """Bring a file to the disk: the journal must not know of rows that are not there."""
    os.fsync(descriptor)
