"""What all tabs of the page share, and how a mistake is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from triptych.errors import UserError
from triptych.page.glance import ODD, reason
from triptych.page.shelf import Shelf
from triptych.page.studio import Studio
from triptych.report.language import Language

LIVE = 3.0
"""Seconds between two looks at the records."""
QUIETLY: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of what happens by itself, or at once."""
PICTURE: dict[str, Any] = {
    "format": "png",
    "interactive": False,
    "show_label": False,
    "buttons": ["download", "fullscreen"],  # to share is to upload
}
"""Of pictures."""
WORK: dict[str, Any] = {
    "concurrency_limit": 1,
    "concurrency_id": "work",
    "trigger_mode": "multiple",
    "show_progress": "minimal",
    "api_visibility": "private",
}
"""Of what computes for long: one at a time, whoever asks for it; the others wait. No second click is lost: in
other modes one is that comes while a cancelled drawing still ends."""


def in_turn(
    draw: gr.Button,
    cancel: gr.Button,
    work: Callable[..., Any],
    asked: list[Any],
    shown: list[Any],
    words: Language,
) -> None:
    """Have one button begin long work, which waits for its turn and says so, and the other end it.

    Args:
        draw: begins it.
        cancel: ends it.
        work: a generator of the values of `shown`.
        asked: fields whose values it is given.
        shown: fields that it fills, that of its state first.
        words: the language.
    """
    status: dict[str, Any] = {"inputs": None, "outputs": shown[0], "queue": False, **QUIETLY}
    waiting = draw.click(lambda: words("waiting"), **status, trigger_mode="multiple")
    working = waiting.then(work, asked, shown, **WORK)
    # Said a turn later: said at once, a last step that was on its way could come after it, and stay.
    pressed = cancel.click(None, cancels=[working], api_visibility="private")
    pressed.then(lambda: words("cancelled"), **status)


@dataclass(frozen=True)
class Place:
    """What all tabs share."""

    shelf: Shelf
    studio: Studio
    scratch: Path
    """Folder for what is shown; gone when the server ends."""
    runs: Path
    """The folder of the runs as it was given, for commands."""
    words: Language


def told(error: Exception) -> str:
    """Return a mistake, or why a record cannot be read, in one line."""
    return str(error) if isinstance(error, UserError) else reason(error)


@contextmanager
def one_line() -> Iterator[None]:
    """Show mistakes, and records that cannot be read, as one line; what is shown is taken for HTML."""
    try:
        yield
    except (UserError, OSError, *ODD) as error:
        raise gr.Error(escape(told(error)), duration=20, print_exception=False) from error


def in_one_line(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function show the user's mistakes as `one_line` does."""

    @wraps(function)
    def wrapped(*arguments: Any) -> Any:
        with one_line():
            return function(*arguments)

    return wrapped
