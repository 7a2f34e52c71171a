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
