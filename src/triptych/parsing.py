"""Command-line tokens into dataclasses, with every mistake told in one line. Imports no torch."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import TypeVar

import tyro

from triptych.errors import UserError

T = TypeVar("T")

FRAME = re.compile(r"[─-╿]{2,}|[-+=]{4,}")
"""Lines and corners of the box that the parser draws around its messages, also where it lacks Unicode."""


PARSING = r"error parsing (?P<flag>--\S+): "
MISFITS = {
    r"missing value for argument '(?P<flag>--\S+)'": "no value follows",
    r"invalid choice (?P<value>'.*') for argument '(?P<flag>\S+)'. Expected one of (?P<choices>.*)": (
        "no such choice"
    ),
    PARSING + r"invalid literal for int\(\) .*: (?P<value>'.*')": "not a whole number",
    PARSING + r"could not convert string to float: (?P<value>'.*')": "not a number",
    PARSING + r"no type matching {None}\|INT .* instantiated from (?P<value>\[.*?\])\.": (
        "neither a whole number nor None"
    ),
    PARSING + r"no type matching {None}\|FLOAT .* instantiated from (?P<value>\[.*?\])\.": (
        "neither a number nor None"
    ),
    PARSING + r"Could not find valid parse for arguments: (?P<value>\[.*\])": "not what it takes",
}
"""What the parser says of a value that does not fit, and how a user is told."""


def parse(
    kind: type[T],
    tokens: Sequence[str],
    command: str,
    *,
    flags: bool = True,
    remedy: str | None = None,
    default: T | None = None,
) -> T:
    """Return a `kind` filled from command-line tokens; `--help` prints the fields and exits.

    Args:
        kind: a dataclass, possibly nested.
        tokens: what was typed, such as `["--training.epochs", "5"]`; of two equal flags the last counts.
        command: how the user called it, for messages.
        flags: whether a boolean is given as `--quiet` and `--no-quiet`, or else as `--quiet True`.
        remedy: what to do about a mistake, where no similar field is found; None points to the help.
        default: what fields have that no token names; None: the defaults of `kind`.

    Raises:
        UserError: an unknown field, a value of the wrong type, or one that is missing.
    """
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            return tyro.cli(
                kind,
                prog=command,
                args=list(tokens),
                default=tyro.MISSING_NONPROP if default is None else default,
                config=() if flags else (tyro.conf.FlagConversionOff,),
            )
    except SystemExit as error:
        if error.code in (0, None):
            raise
        raise _as_user_error(printed.getvalue(), command, remedy or f"see `{command} --help`") from None


def refuse_below_one(remedy: str = "choose 1 or more", **numbers: int | None) -> None:
    """Raise `UserError` for an option, told by its name, that was given as less than 1; None: not given."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UserError(f"--{name.replace('_', '-')} {number}", "less than 1", remedy)


def _as_user_error(box: str, command: str, remedy: str) -> UserError:
    """Turn the parser's framed message into one line: what is wrong, then what was perhaps meant.

    The first line is a title; lines of frame part the message from suggestions and a hint to the help.
    """
    parts: list[list[str]] = [[]]
    for line in box.splitlines()[1:]:
        text = re.sub(r"^[│|]|[│|]$", "", line).strip()
        if FRAME.search(text):
            parts.append([])
        elif text:
            parts[-1].append(text)
    message, *hints = [part for part in parts if part] or [["it cannot be understood"]]
    found = " ".join(message).rstrip(".")
    for pattern, told in MISFITS.items():
        if match := re.match(pattern, found, re.IGNORECASE):
            groups = {"value": "", "choices": ""} | match.groupdict()
            asked = " ".join([command, groups["flag"], *_items(groups["value"])])
            choices = ", ".join(sorted(_items(groups["choices"])))  # of a union they come in any order
            return UserError(asked, told, f"choose from {choices}" if choices else remedy)
    meant = [text for part in hints for text in part if text.startswith("--") and "--help" not in text]
    unknown = "unrecognized" in found.lower()
    if meant and unknown:
        remedy = f"perhaps you meant {meant[0]}"
    return UserError(command, found[:1].lower() + found[1:], remedy)


def _items(written: str) -> list[str]:
    """Return the texts of a sequence, or the one text, that is `written` as Python writes it."""
    return re.findall(r"'(.*?)'", written)
