"""Pictures that a report draws itself: where they lie, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.record.picture_files import picture_file
from triptych.report.canvas import as_png
from triptych.report.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Assets:
    """The folder of pictures beside a report."""

    report: Path
    """The report's file."""
    runs: Sequence[Run]
    """All that it is on, so that each has a name of its own."""
    on_disk: bool = True
    """Whether what is drawn is written beside the report; else it is only kept until it is read."""
    _drawn: dict[str, bytes] = field(default_factory=dict)

    def draw(self, run: Run | None, name: str, draw: Callable[[Figure], None]) -> str | None:
        """Draw a picture of a run, or of several, and return its path, from the report's folder on.

        None where matplotlib (extra `plots`) is not installed. Lettering is English in every language: the
        fonts that come along have no other. The same figures give the same bytes.
        """
        try:
            import_module("matplotlib.figure")
        except ImportError:
            return None
        path = self.path(run, name)
        self._drawn[path] = as_png(draw)
        if self.on_disk:
            replace_file(self.report.parent / path, self._drawn[path])
        return path

    def read(self, path: str) -> bytes | None:
        """Return the file of a picture, by its path from the report's folder on; None where there is none.

        One that lies outside of the folders that runs lie in is not read: a record may be somebody else's.
        """
        if path in self._drawn:
            return self._drawn[path]
        base = self.report.parent
        places = dict.fromkeys((base / run.folder).resolve().parent for run in self.runs)
        found = (picture_file(base / path, inside) for inside in places)
        return next((data for data in found if data is not None), None)

    def path(self, run: Run | None, name: str) -> str:
        """Return where a picture of a run, or of several, is, from the report's folder on.

        It is called after the run's folder, with a number where two folders bear the same name.
        """
        if run is None:
            return f"{self.report.name.split('.')[0]}-assets/{name}.png"
        folder = _folder_name(run)
        alike = [other for other in self.runs if _folder_name(other) == folder]
        number = "" if len(alike) == 1 else f"-{1 + next(i for i, r in enumerate(alike) if r is run)}"
        return f"{self.report.name.split('.')[0]}-assets/{folder}{number}-{name}.png"


def replace_file(path: Path, data: bytes) -> None:
    """Write a file, so that whoever looks sees the old one or the new one, whole; raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        aside.write_bytes(data)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _folder_name(run: Run) -> str:
    return Path(run.folder).name or run.origin.name
