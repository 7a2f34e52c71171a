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

from triptych.cache_place import cache_folder
from triptych.errors import UserError
from triptych.record.codec import CodecError
from triptych.record.events import Event, Progress, Resumed, Started
from triptych.record.history import History
from triptych.record.record import decode_line, encode_line, is_whole

MOST = 500
"""Stretches that figures of training are averaged in, at least; there are up to twice as many."""
LAYOUT = 2
"""Of the copies: raised when they are written otherwise."""
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
    copy, data = copy_of(record), record.read_bytes()
    read, events = _known(copy, data)
    *lines, last = data[read:].split(b"\n")  # the last is empty, or still being written, or lacks its end
    whole = [last] if last and is_whole(last) else []
    if lines:
        events = thin(events + [_decoded(line, record) for line in lines])
        read = len(data) - len(last)
        _keep(copy, events, {"read": read, "record": _hash(data[:read])})
    return History((*events, *(_decoded(line, record) for line in whole)), record)


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
    """Return each place with the steps that its figures are of: since the last, or its attempt's start."""
    begun = {event.attempt: event.step for event in events if isinstance(event.data, Started | Resumed)}
    spans = []
    for place in places:
        event = events[place]
        spans.append((place, max(1, event.step - begun.get(event.attempt, 0))))
        begun[event.attempt] = event.step
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


def _known(copy: Path, data: bytes) -> tuple[int, list[Event]]:
    """Return how far of a record its copy holds, and the events; nothing where it is not of this record."""
    try:
        head, *lines = copy.read_bytes().splitlines()
        told = json.loads(head)
        read = told["read"]
        if told["layout"] != LAYOUT or type(read) is not int or not 0 < read <= len(data):
            return 0, []
        if told["record"] != _hash(data[:read]) or told["sha256"] != _hash(b"\n".join(lines)):
            return 0, []
        return read, [_decoded(line, copy) for line in lines]
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return 0, []


def _keep(copy: Path, events: list[Event], about: dict) -> None:
    """Write a copy; a cache that cannot be written costs time and nothing else."""
    lines = b"".join(encode_line(event) for event in events).rstrip(b"\n")
    head = about | {"layout": LAYOUT, "sha256": _hash(lines)}
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
