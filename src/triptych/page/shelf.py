"""The runs of one folder: which there are, what each looks like at a glance, and where its pictures lie.

Nothing here loads torch, writes into the folder, or leaves it.
"""

from __future__ import annotations

import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePath
from threading import Lock

from triptych.checkpoints.find import FOLDER, all_checkpoints
from triptych.checkpoints.lock import holder
from triptych.errors import UserError
from triptych.page.glance import ODD, Glance, Stamp, glance_of, keep_glance, kept_glance, reason, stamp_of
from triptych.record.picture_files import find_picture, picture_file
from triptych.record.record import FILE_NAME
from triptych.record.thinned import copy_of, thinned
from triptych.report.rows import Row, rows_of
from triptych.report.run import Run

UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What no page shows: control characters, and bytes of a name that are no text."""

RANKING = ("fid", "fd_classifier")
"""Metrics whose best checkpoint can be chosen by name."""
LONG = 1 << 18
"""Bytes of a record from which on it is read for the list while others are shown already."""


class Shelf:
    """A folder of runs, read again only where a record has changed."""

    def __init__(self, root: Path):
        self.root = Path(root).resolve()
        self._runs: dict[str, tuple[Stamp, Run]] = {}
        self._glances: dict[str, tuple[Stamp, Glance]] = {}
        self._reader = ThreadPoolExecutor(1, "reader")
        self._asked: set[str] = set()
        self._lock = Lock()

    def names(self) -> list[str]:
        """Return the names of the runs' folders, in the order of the alphabet."""
        found = [path.parent.name for path in self.root.glob(f"*/{FILE_NAME}")]
        return sorted(name for name in found if self._has(name))

    def drawable(self) -> list[str]:
        """Return the names of the runs that images can be drawn from: those with checkpoints."""
        return [name for name in self.names() if all_checkpoints(self.root / name / FOLDER)]

    def folder(self, name: str) -> Path:
        """Return the folder of a run.

        Raises:
            UserError: there is none of this name.
        """
        if not self._has(name):
            raise UserError(f"run {name[:80]!r}", "there is none of this name", "choose one of the list")
        return self.root / name

    def run(self, name: str) -> Run:
        """Return a run, its long curves thinned; pictures' paths go from the folder of the runs on.

        Raises:
            UserError: there is no such run, or its record is broken.
            OSError: it cannot be read.
        """
        record = self.folder(name) / FILE_NAME
        stamp = stamp_of(record)
        with self._lock:
            known = self._runs.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        history = thinned(record)
        if not history.events:
            raise UserError(f"run {name}", "its record is empty", "train it first")
        history.origin  # noqa: B018 - refuses a record without a start
        run = Run(name, history)
        with self._lock:
            self._runs[name] = stamp, run
        return run

    def glances(self) -> list[Glance]:
        """Return all runs at a glance, the one that changed last first.

        Broken ones come with the reason, and those whose long records are read for the first time as no more
        than their names: they are read meanwhile, so that a later call knows them.
        """
        names = self.names()
        found = [self._soon(name) for name in names]
        with self._lock:
            for known in (self._runs, self._glances):
                for gone in known.keys() - set(names):
                    del known[gone]
            fresh = [one.name for one in found if one.state == "reading" and one.name not in self._asked]
            self._asked.update(fresh)
        for name in fresh:
            self._reader.submit(self._read, name)
        return sorted(found, key=lambda one: (math.isnan(one.changed), -one.changed, one.name))

    def glance(self, name: str) -> Glance:
        """Return one run at a glance, however long that takes."""
        try:
            known = self._known(name)
            if known is not None:
                return known
            stamp = self.stamp(name)
        except (UserError, OSError) as error:
            return Glance(name, fault=reason(error))
        try:
            found = glance_of(name, self.run(name))
            keep_glance(self.root / name / FILE_NAME, stamp, found)
        except (UserError, OSError, *ODD) as error:
            found = Glance(name, fault=reason(error))
        with self._lock:
            self._glances[name] = stamp, found
        return found

    def close(self) -> None:
        """Leave unread what waits to be read."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    def state(self, name: str) -> str:
        """Return a run's state as it is now: only a lock tells that one is in training."""
        return self._now(self.glance(name)).state

    def rows(self, name: str) -> list[Row]:
        """Return what was evaluated of a run; errors as of `run`."""
        run = self.run(name)
        return rows_of(run, run.backbone)

    def checkpoints(self, name: str) -> list[str]:
        """Return what can be chosen of a run: words first, then folders, newest first; errors as of `run`."""
        folders = [path.name for path in all_checkpoints(self.folder(name) / FOLDER)]
        if not folders:
            return []
        words = ["last", *(["best-mse"] if self.run(name).history.best_held_out else [])]
        evaluated = {figure.metric for row in self.rows(name) for figure in row.figures.values()}
        words += [f"best-{metric.replace('_', '-')}" for metric in RANKING if metric in evaluated]
        return [*words, *reversed(folders)]

    def picture(self, path: str) -> bytes | None:
        """Return a picture's file, by its path from the folder of the runs on; None: it is not shown.

        That is one that is not there, lies outside of the folder, or is no picture.
        """
        return picture_file(self.root / path, self.root)

    def has_picture(self, path: str) -> bool:
        """Whether `picture` would show one, without reading it."""
        return find_picture(self.root / path, self.root) is not None

    def stamp(self, name: str) -> Stamp:
        """Return what changes whenever a run's record does; errors as of `run`."""
        return stamp_of(self.folder(name) / FILE_NAME)

    def _has(self, name: str) -> bool:
        if name in ("", ".", "..") or UNFIT.search(name) or PurePath(name).name != name:
            return False
        try:
            record = (self.root / name / FILE_NAME).resolve()
            return record.is_relative_to(self.root) and record.is_file()
        except (OSError, ValueError, RuntimeError):  # such as a link that leads to itself
            return False

    def _read(self, name: str) -> None:
        """Read a long record, so that it is known."""
        try:
            self.glance(name)
        finally:
            with self._lock:
                self._asked.discard(name)

    def _known(self, name: str) -> Glance | None:
        """Return what is known of a run as its record is now; None: nothing yet."""
        stamp = self.stamp(name)
        with self._lock:
            known = self._glances.get(name)
        if known is None:
            kept = kept_glance(self.root / name / FILE_NAME, stamp, name)
            known = None if kept is None else (stamp, kept)
        if known is None or known[0] != stamp:
            return None
        with self._lock:
            self._glances[name] = known
        return known[1]

    def _soon(self, name: str) -> Glance:
        """Return a run at a glance, or its name alone where that would take long."""
        try:
            known = self._known(name)
            if known is None and self._is_long(name):
                return Glance(name, state="reading")
        except (UserError, OSError):
            pass  # `glance` tells it
        return self._now(self.glance(name))

    def _is_long(self, name: str) -> bool:
        """Whether a record takes long to read: it is large, and nothing of it was read before."""
        with self._lock:
            if name in self._runs or name in self._glances:
                return False
        return self.stamp(name)[2] > LONG and not copy_of(self.root / name / FILE_NAME).exists()

    def _now(self, glance: Glance) -> Glance:
        """Return a glance with the state that only the run's lock can tell."""
        if glance.state != "killed" or not holder(self.root / glance.name):
            return glance
        return replace(glance, state="training")
