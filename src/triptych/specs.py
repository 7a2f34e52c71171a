"""Things that are written as a name with options, `ddim:50,eta=0.5`: read, and written back.

A part's options are the fields of its frozen dataclass, each with its default: numbers or texts, so that they
can be typed. What is said of them (what may be set, what a label shows, what is refused) is read from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Protocol

from triptych.errors import UserError


class Options(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def options_of(kind: type[Options]) -> dict[str, Any]:
    """Return the options of a part with their defaults."""
    return {option.name: option.default for option in fields(kind)}


def read_options(what: str, spec: str, parts: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that `eta=0.5`, `spacing=leading` and the like set.

    Args:
        what: the part, for messages, such as `sampler ddim`.
        spec: the whole of what was typed.
        parts: what it says of options.
        defaults: all options that there are; a value is of the kind of its default.

    Raises:
        UserError: there is no such option, or a value is of another kind.
    """
    said: dict[str, Any] = {}
    for part in parts:
        option, _, text = (side.strip() for side in part.partition("="))
        if option not in defaults:
            raise no_such_option(what, option, defaults)
        if option in said:
            raise UserError(f"{what.partition(' ')[0]} {spec}", f"two values of {option}", "give one of them")
        kind = type(defaults[option])
        try:
            said[option] = kind(text)
        except ValueError as error:
            found = f"{text!r} is no {kind.__name__}"
            asked = f"{what.partition(' ')[0]} {spec}"
            raise UserError(asked, found, f"write it like {option}={defaults[option]}") from error
    return said


def written(chosen: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Return the options that differ from their defaults as they are typed, in the order of the defaults."""
    options = [f"{name}={chosen[name]}" for name in defaults if chosen[name] != defaults[name]]
    return [option.removesuffix(".0") for option in options]


def no_such_option(what: str, option: str, known: Mapping[str, Any]) -> UserError:
    """Return the error that a part does not have this option."""
    return UserError(what, f"it has no option {option!r}", f"choose from {', '.join(known)}")
