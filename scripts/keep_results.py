"""Small copies of runs in a folder to keep, made anew where a run has gone on since."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from triptych.record.record import Record


def renew_copies(runs: Sequence[Path], kept: Path, export: Callable[[Path, Path], None]) -> list[Path]:
    """Return small copies of runs, with the pictures beside them that several share.

    Args:
        runs: that lie in one folder.
        kept: the folder for copies; what else lies there stays as it is.
        export: writes the copy of a run to a place that is not there yet.
    """
    aside = kept.with_name(f".{kept.name}")
    shutil.rmtree(aside, ignore_errors=True)
    kept.mkdir(parents=True, exist_ok=True)
    for run in runs:
        if not is_copy_of(kept / run.name, run):
            export(run, aside / run.name)
            replace(aside / run.name, kept / run.name)
    for pictures in runs[0].parent.glob("bout-*"):
        shutil.copytree(pictures, kept / pictures.name, dirs_exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    return [kept / run.name for run in runs]


def is_copy_of(copy: Path, run: Path) -> bool:
    """Whether `copy` is a small copy of `run` as it is now, whatever was done with it since."""
    if not (copy / "record.jsonl").exists():
        return False
    events = Record.of_run(run).events()
    copied = Record.of_run(copy).events()
    return (
        len(copied) > len(events)
        and copied[: len(events)] == events
        and copied[len(events)].kind == "exported"
    )


def replace(new: Path, old: Path) -> None:
    """Put a folder in the place of another, which is gone only then."""
    gone = new.with_name(f"{new.name}.old")
    if old.exists():
        old.rename(gone)
    new.rename(old)
    shutil.rmtree(gone, ignore_errors=True)
