"""Files of experiments that a person wrote down: YAML, every field known by its type."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from triptych.errors import UserError, perhaps
from triptych.recipe_files import parse_fields
from triptych.record.codec import CodecError, decode
from triptych.record.figures import Device
from triptych.record.transcript import Transcript

DURATION = re.compile(r"([\d.]+) ?(d|h|m|s|ms)(?![a-z])")
UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
SPELT = {
    "days": "d",
    "day": "d",
    "hours": "h",
    "hour": "h",
    "hrs": "h",
    "hr": "h",
    "minutes": "m",
    "minute": "m",
    "mins": "m",
    "min": "m",
    "seconds": "s",
    "second": "s",
    "secs": "s",
    "sec": "s",
}
"""Other ways to write units."""
DURATIONS = frozenset({"took", "seconds_per_epoch", "seconds_per_preview"})
"""Fields that may be written so, instead of in seconds."""
NOT_WRITTEN = frozenset({"file", "digest"})
"""Fields of an experiment that are the file's own."""
EXPERIMENTS = "experiments"


def read_transcripts(path: Path) -> list[Transcript]:
    """Return the experiments of a file, which are a list under `experiments:`.

    Raises:
        UserError: it cannot be read, is no YAML, or a field is missing, unknown or of another kind.
    """
    try:
        data = path.read_bytes()
        text = data.decode()
    except OSError as error:
        raise UserError(f"import {path}", (error.strerror or str(error)).lower(), "name a file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"import {path}", "not a text file", "give a YAML file of experiments") from error
    fields = parse_fields(f"import {path}", text)
    entries = fields.get(EXPERIMENTS)
    if fields.keys() != {EXPERIMENTS} or not isinstance(entries, list) or not entries:
        remedy = f"write them as a list under `{EXPERIMENTS}:`, and nothing beside it"
        raise UserError(f"import {path}", f"its fields are {', '.join(map(str, fields))}", remedy)
    digest = hashlib.sha256(data).hexdigest()
    found = [_experiment(path, place, entry) for place, entry in enumerate(entries, start=1)]
    names = [transcript.name for transcript in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"import {path}", f"two experiments are called {name}", "rename one of them")
    return [dataclasses.replace(transcript, file=path.name, digest=digest) for transcript in found]


def _experiment(path: Path, place: int, entry: Any) -> Transcript:
    name = entry.get("name", place) if isinstance(entry, dict) else place
    where = f"experiment {name}"
    try:
        return decode(_plain(entry, Transcript, where), Transcript, where)
    except UserError as error:
        raise UserError(f"import {path}: {error.asked}", error.found, error.remedy) from error
    except CodecError as error:
        raise UserError(f"import {path}", str(error), "mend the file") from error
    except RecursionError as error:
        raise UserError(f"import {path}", f"{where} is nested without end", "mend the file") from error


def _plain(value: Any, hint: Any, where: str) -> Any:
    """Return what was written as the codec reads it: names with underscores, seconds as numbers.

    Raises:
        CodecError: a field is unknown, or a duration is none.
    """
    if isinstance(value, date):
        return _moment(value)
    kinds = [kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind)]
    if isinstance(value, list):
        return [_plain(item, hint, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping) and get_origin(hint) is dict:
        return {str(key): _figure(item, kinds[0], f"{where}.{key}") for key, item in value.items()}
    if not isinstance(value, Mapping) or not kinds:
        return value
    hints = get_type_hints(kinds[0])
    known = [name for name in hints if name not in NOT_WRITTEN]
    plain: dict[str, Any] = {"used": 1, "present": 1} if kinds[0] is Device else {}
    for key, item in value.items():
        field = str(key).replace("-", "_")
        if field not in known:
            named = [name.replace("_", "-") for name in known]
            raise CodecError(f"{where}: there is no field {key}; {perhaps(field.replace('_', '-'), named)}")
        if field in DURATIONS and isinstance(item, str):
            item = seconds(item, f"{where}.{field}")
        if kinds[0] is Device and field == "used" and "present" not in value:
            plain["present"] = item  # nobody wrote down how many there were
        plain[field] = _plain(_number(item, hints[field]), hints[field], f"{where}.{field}")
    return plain


def _figure(value: Any, kind: Any, where: str) -> Any:
    """Return a figure in full, of which the number alone may have been written."""
    if isinstance(value, str):
        raise CodecError(
            f"{where}: {value!r} is no figure; write {{estimate: 15.9, spread: 0.1}}, or a number"
        )
    bare = isinstance(value, int | float) and not isinstance(value, bool)
    return {"estimate": value} if bare else _plain(value, kind, where)


def _moment(value: date) -> str:
    """Return what YAML took for a date as the text that it was, in UTC."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return str(value)


def _number(value: Any, hint: Any) -> Any:
    """Return a text as the number that is meant, where one is due: YAML takes 2e-4 for text."""
    if isinstance(value, str) and float in (hint, *get_args(hint)):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def seconds(text: str, where: str) -> float:
    """Return a duration such as `36h 49m 25.9s` in seconds; CodecError where it is none."""
    plain = re.sub(r"[a-z]+", lambda unit: SPELT.get(unit[0], unit[0]), text.strip().lower())
    parts = DURATION.findall(plain)
    units = [list(UNITS).index(unit) for _, unit in parts]
    if not parts or DURATION.sub("", plain).strip() or units != sorted(set(units)):
        raise CodecError(f"{where}: {text!r} is no duration; write it like 36h 49m 25.9s, or in seconds")
    try:
        return sum(float(number) * UNITS[unit] for number, unit in parts)
    except ValueError as error:
        raise CodecError(f"{where}: {text!r} is no duration") from error
