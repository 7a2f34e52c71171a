"""Errors that are the user's to mend; everything else that is raised is a fault in the program."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something asked of the program that it cannot do as asked.

    The message is one line that says what was asked, what was found, and what to do.
    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, asked: str, found: str, remedy: str):
        super().__init__(f"{asked}: {found}; {remedy}")
        self.asked, self.found, self.remedy = asked, found, remedy


def perhaps(typed: str, known: Iterable[str]) -> str:
    """Return what to tell of a name that is none of those known: the one that was meant, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(typed, names, n=1)
    return f"perhaps you meant {close[0]}" if close else f"choose from {', '.join(names)}"
