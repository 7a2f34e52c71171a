"""A long record, thinned to be looked at: figures of training are averaged in stretches, all else is whole.

A copy lies in the cache, with how far of the record it holds, so that a record that has grown is read from
there on. It is for looking only: whoever resumes, evaluates or reports reads the record itself.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import BinaryIO

from triptych.cache_place import cache_folder
from triptych.errors import UserError
from triptych.record.codec import CodecError
from triptych.record.events import Event, Progress
from triptych.record.history import History
from triptych.record.record import decode_line, encode_line

MOST = 500
"""Stretches that figures of training are averaged in, at least; there are up to twice as many."""
LAYOUT = 1
"""Of the copies: raised when they are written otherwise."""
ENDS = 256
"""Bytes at the start of a record, and before the place that a copy ends at, by which it is known again."""
PROGRESS = b'{"kind": "progress"'
COUNTS = ("not_finite", "spikes", "overflows")
MEANS = ("loss", "gradient_norm", "images_per_second")
FIELDS = frozenset(field.name for field in fields(Progress))


def thinned(record: Path) -> History:
    """Return the history of a record with its training figures thinned; keep a copy for the next time.

    Args:
        record: the file.

    Raises:
        UserError: a line is broken.
        OSError: the file cannot be read.
    """
    copy = copy_of(record)
    with record.open("rb") as file:
        read, events = _known(copy, file)
        file.seek(read)
        fresh = file.read()
        *lines, last = fresh.split(b"\n")  # the last is empty, or still being written
        if lines:
            events = thin(events + [_decoded(line, record) for line in lines])
            read += len(fresh) - len(last)
            file.seek(0)
            head = file.read(ENDS)
            file.seek(max(0, read - ENDS))
            _keep(
                copy, events, {"read": read, "head": _hash(head), "tail": _hash(file.read(min(read, ENDS)))}
            )
    return History(tuple(events), record)


def copy_of(record: Path) -> Path:
    """Return where the copy of a record lies."""
    key = hashlib.sha256(str(record.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder() / "thinned" / f"{key[:32]}.jsonl"


def thin(events: list[Event], most: int = MOST) -> list[Event]:
    """Return events in which figures of training are averaged, once there are more than twice `most`.

    Stretches of equal length are averaged, weighted by their steps; those of two attempts never are. Counts
    of steps that were left out are added up.
    """
    places = [i for i, event in enumerate(events) if isinstance(event.data, Progress)]
    if len(places) <= 2 * most:
        return events
    spans = _spans(events, places)
    longest = sum(steps for _, steps in spans) / most
    stretches: list[list[tuple[int, int]]] = []
    length, attempt = math.inf, -1
    for place, steps in spans:
        if events[place].attempt != attempt or length + steps > longest:
            stretches.append([])
            length, attempt = 0, events[place].attempt
        stretches[-1].append((place, steps))
        length += steps
    merged: dict[int, Event | None] = {}
    for stretch in stretches:
        merged |= {place: None for place, _ in stretch}
        merged[stretch[-1][0]] = _averaged([(events[place], steps) for place, steps in stretch])
    return [found for i, event in enumerate(events) if (found := merged.get(i, event)) is not None]


def _spans(events: list[Event], places: list[int]) -> list[tuple[int, int]]:
    """Return each place with the steps that its figures are of: those since the figures before."""
    spans, attempt, step = [], -1, 0
    for place in places:
        event = events[place]
        begun = step if event.attempt == attempt and step < event.step else max(0, event.step - 1)
        spans.append((place, max(1, event.step - begun)))
        attempt, step = event.attempt, event.step
    return spans


def _averaged(stretch: list[tuple[Event, int]]) -> Event:
    """Return figures, each with the steps that it is of, as one: NaN left out, at the place of the last."""
    last = stretch[-1][0]
    if len(stretch) == 1:
        return last
    values: dict[str, float] = {}
    for name in MEANS:
        known = [(value, steps) for event, steps in stretch if (value := getattr(event.data, name)) == value]
        weight = sum(steps for _, steps in known)
        values[name] = sum(value * steps for value, steps in known) / weight if weight else math.nan
    counts = {name: sum(getattr(event.data, name) for event, _ in stretch) for name in COUNTS}
    return replace(last, data=replace(last.data, **values, **counts))


def _decoded(line: bytes, record: Path) -> Event:
    """Return the event of a line; of figures of training, which are most of them, by a short way."""
    try:
        if line.startswith(PROGRESS):
            told = json.loads(line)
            data = told["data"]
            if data.keys() <= FIELDS and all(type(value) in (int, float) for value in data.values()):
                step, attempt, seconds = told["step"], told["attempt"], told["seconds"]
                if type(step) is int and type(attempt) is int and type(seconds) in (int, float):
                    return Event("progress", step, attempt, seconds, Progress(**data))
        return decode_line(line)
    except (CodecError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"reading {record}", str(error), "restore the file from a copy") from None


def _known(copy: Path, file: BinaryIO) -> tuple[int, list[Event]]:
    """Return how far of a record its copy holds, and the events; nothing where it is not of this record."""
    try:
        head, *lines = copy.read_bytes().splitlines()
        told = json.loads(head)
        read, size = told["read"], os.fstat(file.fileno()).st_size
        if told["layout"] != LAYOUT or type(read) is not int or not 0 < read <= size:
            return 0, []
        file.seek(0)
        begins = _hash(file.read(ENDS))
        file.seek(max(0, read - ENDS))
        if (begins, _hash(file.read(min(read, ENDS)))) != (told["head"], told["tail"]):
            return 0, []
        if hashlib.sha256(b"\n".join(lines)).hexdigest() != told["sha256"]:
            return 0, []
        return read, [_decoded(line, copy) for line in lines]
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return 0, []


def _keep(copy: Path, events: list[Event], about: dict) -> None:
    """Write a copy; a cache that cannot be written costs time and nothing else."""
    lines = b"".join(encode_line(event) for event in events).rstrip(b"\n")
    head = about | {"layout": LAYOUT, "sha256": hashlib.sha256(lines).hexdigest()}
    aside = copy.with_name(f".{copy.name}.{secrets.token_hex(8)}")
    with suppress(OSError):
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_bytes(json.dumps(head).encode() + b"\n" + lines)
            os.replace(aside, copy)
        finally:
            aside.unlink(missing_ok=True)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
