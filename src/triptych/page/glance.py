"""A run at a glance: what the list of runs says of it, and where that is kept for the next time."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from triptych.errors import UserError
from triptych.record.codec import decode, encode
from triptych.record.history import lowest_error
from triptych.record.thinned import copy_of
from triptych.report.names import metric_name
from triptych.report.rows import headline, ranked, rows_of
from triptych.report.run import Run

ODD = (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What a record raises whose every line is valid, and whose figures cannot be."""
Stamp = tuple[int, int, int]
"""Of a record: its inode, when it was last written to, and its size."""


@dataclass(frozen=True)
class Glance:
    """A run in one line; NaN and None where there is nothing to say."""

    name: str
    """Of its folder."""
    model: str = ""
    data: str = ""
    state: str = "broken"
    """training, finished, stopped, killed, imported, exported, written, reading or broken."""
    epochs: float = math.nan
    planned: float = math.nan
    loss: float = math.nan
    lowest_mse: float = math.nan
    metric: str = ""
    """Of the best evaluated figure, as it is printed."""
    figure: float = math.nan
    changed: float = math.nan
    """Unix time of the last event."""
    fault: str = ""
    """Why it cannot be read."""


def reason(error: Exception) -> str:
    """Return why a run cannot be read, without where it lies."""
    if isinstance(error, UserError):
        return error.found
    return str(error.strerror or error).lower() if isinstance(error, OSError) else "its figures cannot be"


def stamp_of(record: Path) -> Stamp:
    """Return what changes whenever a record does; OSError where there is none."""
    stat = record.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def kept_glance(record: Path, stamp: Stamp, name: str) -> Glance | None:
    """Return what was kept of a record, if it is of this state of it."""
    try:
        kept = json.loads(place_of(record).read_bytes())
        found = decode(kept["glance"], Glance)
        return found if kept["stamp"] == list(stamp) and found.name == name else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_glance(record: Path, stamp: Stamp, glance: Glance) -> None:
    """Keep a glance for the next time; a cache that cannot be written costs time and nothing else."""
    with suppress(OSError):
        place_of(record).write_text(json.dumps({"stamp": stamp, "glance": encode(glance, Glance)}))


def place_of(record: Path) -> Path:
    """Return where the glance of a record is kept."""
    return copy_of(record).with_suffix(".glance.json")


def glance_of(name: str, run: Run) -> Glance:
    """Return a run at a glance."""
    history = run.history
    progress, best = history.last_progress, history.best_held_out
    rows = rows_of(run, run.backbone)
    metric = headline(rows)
    figure = ranked(rows, metric)[0][2].estimate if metric else math.nan
    trained = not history.imported
    return Glance(
        name=name,
        model=run.backbone,
        data=run.data,
        state=_state(run),
        epochs=run.epochs_done if trained else math.nan,
        planned=run.planned_epochs if trained else math.nan,
        loss=progress.data.loss if progress else math.nan,
        lowest_mse=lowest_error(best.data)[0] if best else math.nan,
        metric=metric_name(metric).label if metric else "",
        figure=figure,
        changed=max(event.seconds for event in history.events),
    )


def _state(run: Run) -> str:
    """Return what the record tells; one that is open may have been killed, or be written to."""
    if run.history.exported:
        return "exported"
    if run.history.imported:
        return "imported"
    if run.written_in:
        return "written"
    end = run.attempts[-1].end
    return "killed" if end == "open" else end
