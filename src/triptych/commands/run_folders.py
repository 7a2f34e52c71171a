"""The folders among which runs lie: what `runs/*` names beside them. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from triptych.record.record import FILE_NAME

BOUT = "bout-"
"""What the name of a folder of pictures begins with that several runs share: it lies beside the runs."""


def without_bouts(folders: Sequence[Path]) -> list[Path]:
    """Return folders without those of shared pictures, so that `runs/*` means the runs."""
    return [folder for folder in folders if not is_bout(folder)]


def called(folder: Path, among: Sequence[Path]) -> str:
    """Return what a run's folder is called among others: by its path where another has the same name."""
    alike = [other for other in among if other.name == folder.name]
    return folder.name if len(alike) < 2 else str(folder)


def is_bout(folder: Path) -> bool:
    """Whether a folder holds pictures that several runs share."""
    return folder.name.startswith(BOUT) and folder.is_dir() and not (folder / FILE_NAME).exists()
