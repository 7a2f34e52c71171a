"""Typed values to strict JSON and back, led by the type hints of frozen dataclasses.

A reader years from now has the file and perhaps not the program, so that what is written is plain JSON:
objects for dataclasses, arrays for tuples, and for the three floats that JSON lacks the strings "NaN",
"Infinity" and "-Infinity". Where no hint says that a float is meant (inside a bare `dict`) such a float is
written as `{"$float": "NaN"}`, so that a text reading "NaN" stays a text.

Fields that this version does not know are passed over, so that an older program still reads the record of a
newer one; a missing field is an error unless it has a default.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin, get_type_hints

Json = Any
"""What `json.dumps(..., allow_nan=False)` takes: None, bool, int, float, str, and lists and dicts of them."""

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
FLOAT_KEY = "$float"


class CodecError(ValueError):
    """JSON that does not fit the type it should have; the message begins with the path to the spot."""


def encode(value: Any, hint: Any, where: str = "value") -> Json:
    """Turn `value` of the type that `hint` names into JSON; TypeError names the field of another type."""
    hint, optional = _without_none(hint)
    if value is None and optional:
        return None
    if dataclasses.is_dataclass(hint):
        _expect(isinstance(value, hint), where, hint, value)
        return {name: encode(getattr(value, name), of, f"{where}.{name}") for name, of, _ in _fields(hint)}
    if (items := _tuple_item(hint)) is not None:
        _expect(isinstance(value, tuple), where, hint, value)
        return [encode(item, items, f"{where}[{i}]") for i, item in enumerate(value)]
    if (values := _dict_value(hint)) is not None:
        _expect(isinstance(value, dict), where, hint, value)
        _expect(all(isinstance(key, str) for key in value), where, "dict with str keys", value)
        _expect(values is not Any or value.keys() != {FLOAT_KEY}, where, f"no {FLOAT_KEY!r} key", value)
        return {key: encode(item, values, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return _encode_untyped(value, where)
    if hint is float:
        _expect(isinstance(value, Real) and not isinstance(value, bool), where, hint, value)
        number = float(value)
        return number if math.isfinite(number) else _name_of(number)
    if hint is int:
        _expect(isinstance(value, Integral) and not isinstance(value, bool), where, hint, value)
        return int(value)
    _expect(hint in (str, bool) and isinstance(value, hint), where, hint, value)
    return value


def decode(data: Json, hint: Any, where: str = "value") -> Any:
    """Turn JSON into a value of the type that `hint` names; CodecError names the spot that does not fit."""
    hint, optional = _without_none(hint)
    if data is None and optional:
        return None
    if dataclasses.is_dataclass(hint):
        _fits(isinstance(data, dict), where, "an object", data)
        return _decode_fields(data, hint, where)
    if (items := _tuple_item(hint)) is not None:
        _fits(isinstance(data, list), where, "an array", data)
        return tuple(decode(item, items, f"{where}[{i}]") for i, item in enumerate(data))
    if (values := _dict_value(hint)) is not None:
        _fits(isinstance(data, dict), where, "an object", data)
        return {key: decode(item, values, f"{where}.{key}") for key, item in data.items()}
    if hint is Any:
        return _decode_untyped(data)
    if hint is float:
        if isinstance(data, str) and data in NON_FINITE:
            return NON_FINITE[data]
        _fits(isinstance(data, (int, float)) and not isinstance(data, bool), where, "a number", data)
        return float(data)
    if hint is int:
        _fits(isinstance(data, int) and not isinstance(data, bool), where, "an integer", data)
        return data
    _fits(isinstance(data, hint), where, "a text" if hint is str else "true or false", data)
    return data


def _decode_fields(data: dict, hint: type, where: str) -> Any:
    known = {}
    for name, of, required in _fields(hint):
        if name in data:
            known[name] = decode(data[name], of, f"{where}.{name}")
        elif required:
            raise CodecError(f"{where}: the field {name!r} is missing")
    return hint(**known)


def _encode_untyped(value: Any, where: str) -> Json:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return number if math.isfinite(number) else {FLOAT_KEY: _name_of(number)}
    if isinstance(value, (list, tuple)):
        return [_encode_untyped(item, f"{where}[{i}]") for i, item in enumerate(value)]
    return encode(value, dict[str, Any], where)


def _decode_untyped(data: Json) -> Any:
    if isinstance(data, list):
        return [_decode_untyped(item) for item in data]
    if isinstance(data, dict):
        if data.keys() == {FLOAT_KEY}:
            return NON_FINITE[data[FLOAT_KEY]]
        return {key: _decode_untyped(item) for key, item in data.items()}
    return data


@functools.cache
def _fields(cls: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Name, hint and "is it required" of each field of a dataclass."""
    hints = get_type_hints(cls)
    missing = dataclasses.MISSING
    return tuple(
        (field.name, hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(cls)
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    arms = [arm for arm in get_args(hint) if arm is not types.NoneType]
    if len(arms) != 1:
        raise TypeError(f"a field can be one type or None, not {hint}")
    return arms[0], True


def _tuple_item(hint: Any) -> Any:
    """X of `tuple[X, ...]`, Any of a bare `tuple`, None of anything else."""
    if hint is tuple:
        return Any
    if get_origin(hint) is not tuple:
        return None
    arguments = get_args(hint)
    if len(arguments) != 2 or arguments[1] is not Ellipsis:
        raise TypeError(f"a tuple field is tuple[X, ...] or tuple, not {hint}")
    return arguments[0]


def _dict_value(hint: Any) -> Any:
    """X of `dict[str, X]`, Any of a bare `dict`, None of anything else."""
    if hint is dict:
        return Any
    return get_args(hint)[1] if get_origin(hint) is dict else None


def _name_of(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _expect(condition: bool, where: str, wanted: object, found: object) -> None:
    if not condition:
        raise TypeError(f"{where}: {wanted} was declared, {type(found).__name__} was given")


def _fits(condition: bool, where: str, wanted: str, found: object) -> None:
    if not condition:
        shown = repr(found)
        raise CodecError(f"{where}: should be {wanted}, is {shown[:60]}{'...' if len(shown) > 60 else ''}")
