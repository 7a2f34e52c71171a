"""What every verb says where the disk refuses what it was asked to write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from triptych.errors import UserError


@contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Tell any `OSError` raised inside as the user's to mend: `place` cannot be written to."""
    try:
        yield
    except OSError as error:
        found = (error.strerror or str(error)).lower()
        where = "" if error.filename in (None, str(place)) else f" ({error.filename})"
        raise UserError(f"write to {place}", found + where, "choose another place with --out") from error
