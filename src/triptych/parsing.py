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

FRAME = re.compile(r"[─-╿]+")


def parse(kind: type[T], tokens: Sequence[str], command: str, *, flags: bool = True) -> T:
    """Return a `kind` filled from command-line tokens; `--help` prints the fields and exits.

    Args:
        kind: a dataclass, possibly nested.
        tokens: what was typed, such as `["--training.epochs", "5"]`; of two equal flags the last counts.
        command: how the user called it, for messages.
        flags: whether a boolean is given as `--quiet` and `--no-quiet`, or else as `--quiet True`.

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
                config=() if flags else (tyro.conf.FlagConversionOff,),
            )
    except SystemExit as error:
        if error.code in (0, None):
            raise
        raise _as_user_error(printed.getvalue(), command) from None


def _as_user_error(box: str, command: str) -> UserError:
    """Turn the parser's framed message into one line: what is wrong, then what was perhaps meant."""
    lines = [re.sub(r"^│ ?| *│$", "", line) for line in box.splitlines()]
    titled = [FRAME.sub("", lines[0]).strip()] if lines else []
    parts: list[list[str]] = [[]]
    for line in lines[1:]:
        if FRAME.search(line):
            parts.append([])
        elif line.strip():
            parts[-1].append(line.strip())
    found = " ".join(parts[0]) or " ".join(titled) or "cannot be understood"
    meant = [line for part in parts[1:] for line in part if line.startswith("--")]
    meant = [line for line in meant if "--help" not in line]
    remedy = (
        f"perhaps you meant {meant[0]}" if meant and "Unrecognized" in found else f"see `{command} --help`"
    )
    return UserError(command, found[:1].lower() + found[1:].rstrip("."), remedy)
