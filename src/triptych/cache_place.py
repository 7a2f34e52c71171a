"""Where caches lie on this machine. Imports no torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from triptych.errors import UserError


def cache_folder() -> Path:
    """Return where caches live: TRIPTYCH_CACHE, else `triptych` in the platform's cache folder.

    Raises:
        UserError: TRIPTYCH_CACHE names a home that nobody has.
    """
    if chosen := os.environ.get("TRIPTYCH_CACHE"):
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            found = "nobody of that name has a home"
            raise UserError(f"TRIPTYCH_CACHE={chosen}", found, "write the folder out") from error
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "triptych"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "triptych"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triptych"
