"""A run's record on disk: `record.jsonl`, one event a line, only ever appended to.

Each append is one `write` of one whole line, followed by `fsync`: after a crash the file holds every event
that was acknowledged and at most one torn last line. Readers pass over that line, the next append removes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from triptych.errors import UserError
from triptych.record.codec import CodecError, decode, encode
from triptych.record.events import KINDS, Event, Payload
from triptych.record.history import History

try:
    import fcntl
except ImportError:  # Windows: no advisory locks, so that only one process at a time may append there.
    fcntl = None

FILE_NAME = "record.jsonl"
KIND_OF = {payload: kind for kind, payload in KINDS.items()}
HEAD = ("kind", "step", "attempt", "seconds", "data")


class Record:
    """The events of one run, over the file `record.jsonl`; making the object touches no file."""

    def __init__(self, path: Path):
        self.path = Path(path)

    @classmethod
    def of_run(cls, folder: Path) -> Record:
        """Return the record of the run in `folder`; UserError where the folder or its record is missing."""
        record = cls(Path(folder) / FILE_NAME)
        if not record.path.is_file():
            place, remedy = Path(folder), "give the folder of a run, such as runs/NAME"
            if any(place.glob(f"*/{FILE_NAME}")):
                remedy = f"runs lie in it: give one of them, or {place / '*'} for all"
            found = f"no {FILE_NAME} in it" if place.is_dir() else "there is no such folder"
            raise UserError(f"the run {folder}", found, remedy)
        return record

    def append(self, payload: Payload, step: int, attempt: int, seconds: float | None = None) -> Event:
        """Write one event and return it once it is safe on disk.

        `step` counts optimiser steps, `attempt` resumes; `seconds` is Unix time, None takes the clock's.
        Processes may append to one record at the same time. Raises OSError when the disk refuses.
        """
        moment = time.time() if seconds is None else seconds
        event = Event(KIND_OF[type(payload)], step, attempt, moment, payload)
        line = encode_line(event)
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            with _locked(descriptor):
                _repair(descriptor)
                _write_all(descriptor, line)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            _fsync_folder(self.path.parent)
        return event

    def events(self) -> tuple[Event, ...]:
        """All events in the order written, voided ones too; UserError names a broken line."""
        return tuple(self._read()) if self.path.exists() else ()

    def valid_events(self) -> tuple[Event, ...]:
        """The events that still hold: those that no later attempt resumed before."""
        return self.history().valid

    def history(self) -> History:
        """Read the file once, for any number of questions."""
        return History(self.events(), self.path)

    def _read(self) -> Iterator[Event]:
        *lines, last = self.path.read_bytes().split(b"\n")
        if is_whole(last):
            lines.append(last)
        for number, line in enumerate(lines, start=1):
            try:
                yield decode_line(line)
            except CodecError as error:
                raise UserError(
                    f"reading {self.path}, line {number}",
                    str(error),
                    "restore the file from a copy, or delete that line",
                ) from None


def encode_line(event: Event) -> bytes:
    """One event as a line of JSON with its newline; ASCII, so that no text can break a line."""
    record = {
        "kind": event.kind,
        "step": encode(event.step, int, "step"),
        "attempt": encode(event.attempt, int, "attempt"),
        "seconds": encode(event.seconds, float, "seconds"),
        "data": encode(event.data, KINDS[event.kind], event.kind),
    }
    return json.dumps(record, allow_nan=False, separators=(", ", ": ")).encode("ascii") + b"\n"


def decode_line(line: bytes) -> Event:
    """The event of one line (without its newline); CodecError says what is wrong with it."""
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
    except ValueError as error:
        raise CodecError(f"this is no JSON ({error})") from None
    if not isinstance(record, dict):
        raise CodecError("this is no JSON object")
    for name in HEAD:
        if name not in record:
            raise CodecError(f"the field {name!r} is missing")
    kind = decode(record["kind"], str, "kind")
    if kind not in KINDS:
        raise CodecError(f"the kind {kind!r} is unknown (written by a newer triptych?)")
    return Event(
        kind,
        decode(record["step"], int, "step"),
        decode(record["attempt"], int, "attempt"),
        decode(record["seconds"], float, "seconds"),
        decode(record["data"], KINDS[kind], kind),
    )


def is_whole(last_line: bytes) -> bool:
    """Whether a last line without newline is complete all the same: no true prefix of an object is JSON."""
    try:
        return isinstance(json.loads(last_line), dict)
    except ValueError:
        return False


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _repair(descriptor: int) -> None:
    """Give a complete last line its newline, cut a torn one off."""
    size = os.fstat(descriptor).st_size
    start, tail = size, b""
    while start > 0 and b"\n" not in tail:
        length = min(start, 1 << 16)
        start -= length
        os.lseek(descriptor, start, os.SEEK_SET)
        tail = os.read(descriptor, length) + tail
    last = tail.rpartition(b"\n")[2]
    if is_whole(last):
        _write_all(descriptor, b"\n")
    elif last:
        os.ftruncate(descriptor, size - len(last))


def _write_all(descriptor: int, data: bytes) -> None:
    """One write; a second only where the system took a part (a full disk then raises OSError)."""
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _locked(descriptor: int) -> Generator[None]:
    """Hold the file for the length of one append; file systems without locks are written without."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield  # closing the descriptor releases the lock


def _fsync_folder(folder: Path) -> None:
    """Make the new file's name as durable as its content; not every system can open a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
