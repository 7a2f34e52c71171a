"""Making runs of experiments that a person wrote down: records without a model, to be reported."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from triptych.checkpoints.durable import aside, sync_folder
from triptych.errors import UserError, perhaps
from triptych.record.events import Started
from triptych.record.picture_files import picture_file
from triptych.record.record import FILE_NAME, Record
from triptych.record.transcribed import record_transcript
from triptych.record.transcript import Transcript
from triptych.record.transcript_file import read_transcripts
from triptych.report.names import METRICS, SAMPLERS

PICTURES = "pictures"
"""Folder of a run that holds copies of what was written down with it."""


@dataclass(frozen=True)
class Entered:
    """A run that was made of a written-down experiment."""

    run: str
    rows: int
    """Evaluated ones."""
    replaced: bool
    """Whether it takes the place of an earlier import."""
    missing: tuple[str, ...] = ()
    """Pictures that are not there, or are none."""


def enter(file: Path, runs: Path) -> list[Entered]:
    """Make a run of every experiment in a file; all are checked before the first is written.

    A run that was made so before is replaced, so that a file can be mended and imported again.

    Raises:
        UserError: the file is none, a metric or sampler is unknown, there is another run of that name, or the
            disk refuses.
    """
    transcripts = read_transcripts(file)
    for transcript in transcripts:
        _check_names(transcript, file)
    folders = [runs / transcript.name for transcript in transcripts]
    replaced = [_is_replaced(folder) for folder in folders]
    try:
        missing = [
            _write(transcript, file.parent, folder)
            for transcript, folder in zip(transcripts, folders, strict=True)
        ]
    except OSError as error:
        found = (error.strerror or str(error)).lower()
        raise UserError(f"import into {runs}", found, "choose another place with --runs") from error
    rows = [len(told.evaluation.rows) if told.evaluation else 0 for told in transcripts]
    return [
        Entered(str(folder), count, was, tuple(lost))
        for folder, count, was, lost in zip(folders, rows, replaced, missing, strict=True)
    ]


def _check_names(transcript: Transcript, file: Path) -> None:
    asked = f"import {file}: experiment {transcript.name}"
    rows = transcript.evaluation.rows if transcript.evaluation else ()
    _check(asked, "metric", [metric for row in rows for metric in row.figures], METRICS)
    samplers = [row.sampler for row in (*rows, *transcript.samples)]
    _check(asked, "sampler", [spec.partition(":")[0] for spec in samplers if spec], SAMPLERS)


def _check(asked: str, kind: str, names: Sequence[str], known: Mapping[str, object]) -> None:
    for name in names:
        if name not in known:
            raise UserError(asked, f"{kind} {name}: there is none of that name", perhaps(name.lower(), known))


def _is_replaced(folder: Path) -> bool:
    """Whether a run that was written down before lies there; UserError where it is anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    record = folder / FILE_NAME
    if record.is_file():
        first = next(iter(Record(record).events()), None)
        if first is not None and isinstance(first.data, Started) and first.data.written_in:
            return True
    raise UserError(f"import into {folder}", "something else is there already", "rename the experiment")


def _write(transcript: Transcript, source: Path, folder: Path) -> list[str]:
    """Write a run with copies of its pictures, whose paths go from `source` on; return what are none."""
    folder.mkdir(parents=True, exist_ok=True)
    missing: list[str] = []
    with aside(folder, FILE_NAME) as staged:
        (staged / PICTURES).mkdir()

        def copied(path: str) -> str:
            name = f"{hashlib.sha256(path.encode()).hexdigest()[:8]}-{Path(path).name}"
            data = picture_file(source / path)
            if data is None:
                missing.append(path)
            else:
                (staged / PICTURES / name).write_bytes(data)
            return f"{PICTURES}/{name}"

        record_transcript(transcript.with_pictures(copied), Record(staged / FILE_NAME))
        shutil.rmtree(folder / PICTURES, ignore_errors=True)
        os.replace(staged / PICTURES, folder / PICTURES)
        os.replace(staged / FILE_NAME, folder / FILE_NAME)
    sync_folder(folder)
    return missing
