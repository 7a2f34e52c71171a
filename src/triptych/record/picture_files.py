"""Files of pictures, as a record names them: nothing else is shown, whatever it says. Imports no torch."""

from __future__ import annotations

from pathlib import Path

KINDS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF8": "image/gif",
    b"\xff\xd8\xff": "image/jpeg",
}
"""How files of pictures begin, and what they are called."""
LARGEST = 64 << 20
"""Bytes of a picture that is shown; our own are far smaller."""


def kind_of(data: bytes) -> str | None:
    """Return what a file is by its beginning, such as `image/png`; None where it is no picture."""
    return next((kind for start, kind in KINDS.items() if data.startswith(start)), None)


def find_picture(path: Path, inside: Path | None = None) -> Path | None:
    """Return where a picture is, links followed; None where there is none, or it is none, or too large.

    Args:
        path: of the file.
        inside: the folder, links followed, that it has to lie in; None: anywhere.
    """
    try:
        place = path.resolve()
        if inside is not None and not place.is_relative_to(inside.resolve()):
            return None
        if not place.is_file() or place.stat().st_size > LARGEST:
            return None
        with place.open("rb") as file:
            return place if kind_of(file.read(max(map(len, KINDS)))) else None
    except (OSError, ValueError, RuntimeError):  # such as a name that cannot be, or a link to itself
        return None


def picture_file(path: Path, inside: Path | None = None) -> bytes | None:
    """Return a picture's file; None as of `find_picture`, which has the same arguments."""
    place = find_picture(path, inside)
    try:
        return None if place is None else place.read_bytes()
    except OSError:  # it has gone since
        return None
