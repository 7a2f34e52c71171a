"""Checkpoints written beside training, which waits for a copy of its state and for nothing else.

What takes long, encoding, flushing, reading back and retention, is the work of a thread. It computes nothing
with torch, whose threads belong to training.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.prune import Retention, prune
from triptych.checkpoints.write import NonFiniteWeights, refuse_non_finite, write_finite
from triptych.distributed import ALONE, Ranks
from triptych.evaluation.selection import best_checkpoints
from triptych.record.events import Evaluated, Saved
from triptych.record.record import Record
from triptych.training.step import Unsound


@dataclass
class Saving:
    """A checkpoint on its way to the disk.

    Attributes:
        checkpoint: name of its folder.
        epoch: that it is of.
        step: that it is of.
        stalled: seconds that training waited for it so far.
    """

    checkpoint: str
    epoch: float
    step: int
    stalled: float = 0.0

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Count the seconds inside this context."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stalled += time.perf_counter() - start


@dataclass(frozen=True)
class Written:
    """What became of a save.

    Attributes:
        size: bytes of the checkpoint.
        took: seconds until it was safe and older ones pruned, whether training went on meanwhile or not.
        removed: names of the checkpoints that retention removed or thinned for it.
    """

    size: int
    took: float
    removed: tuple[str, ...]


class Saver:
    """Writes the checkpoints of a run, one at a time, while its context lasts; the first rank's work.

    The context ends when what was begun is written; an interruption by the user gives it up, which leaves
    everything as it was before, unless it is published already.

    Args:
        folder: of the run, whose lock the first rank holds.
        rule: what is kept of older checkpoints.
        record: of the run: what evaluations chose is kept too.
        ranks: the processes that train; each calls the same methods.
    """

    def __init__(self, folder: Path, rule: Retention, record: Record, ranks: Ranks = ALONE):
        self.root, self.rule, self.record, self.ranks = folder / FOLDER, rule, record, ranks
        self._given_up = threading.Event()
        self._saving: Saving | None = None
        self._save: Future[Written] | None = None

    def __enter__(self) -> Saver:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        # The run's lock is held until nothing is written any more, however often the user interrupts.
        while self._save is not None and not self._save.done():
            if interrupted:
                self._given_up.set()
            try:
                futures.wait([self._save])
            except KeyboardInterrupt:
                interrupted = True
        self._pool.shutdown()
        if interrupted and kind is None:
            raise KeyboardInterrupt

    def begin(self, saving: Saving, contents: Callable[[], Contents]) -> None:
        """Begin to write what `contents` returns, which may change as soon as this returns.

        What was begun before must have been collected.

        Raises:
            Unsound: weights are not finite, so that nothing was begun.
        """
        assert self._saving is None
        with saving.waited_for():
            unsound = self.ranks.lead(lambda: self._begin(saving.checkpoint, contents()))
        if unsound:
            raise Unsound(unsound)
        self._saving = saving

    def _begin(self, checkpoint: str, contents: Contents) -> str:
        """Begin on the first rank; return what forbids it, if anything does."""
        begun, copy = time.perf_counter(), contents.copied()
        try:
            refuse_non_finite(copy)
        except NonFiniteWeights as error:
            return str(error)
        self._save = self._pool.submit(self._write, checkpoint, copy, begun)
        return ""

    def collect(self, *, wait: bool) -> tuple[int, Saved] | None:
        """Return what to record of the save that was begun, and its step; None: there is none, or not yet.

        Args:
            wait: whether to wait until it is safe.

        Raises:
            UserError: the disk refused it; nothing that was saved before is touched.
        """
        if (saving := self._saving) is None:
            return None
        with saving.waited_for():
            written = self.ranks.lead(lambda: self._collect(wait))
        if written is None:
            return None
        self._saving = None
        size, took, removed = written.size, written.took, written.removed
        return saving.step, Saved(saving.epoch, saving.checkpoint, size, took, removed, saving.stalled)

    def _collect(self, wait: bool) -> Written | None:
        assert self._save is not None
        return self._save.result() if wait or self._save.done() else None

    def _write(self, name: str, contents: Contents, begun: float) -> Written:
        folder = write_finite(self.root, name, contents, self._proceed)
        self._proceed()  # what is left is not worth a wait
        chosen = best_checkpoints([event.data for event in self.record.history().of_kind(Evaluated)])
        pruned = prune(self.root, self.rule, chosen)
        size = folder_size(folder)
        return Written(size, time.perf_counter() - begun, (*pruned.removed, *pruned.thinned))

    def _proceed(self) -> None:
        if self._given_up.is_set():
            raise CancelledError


def folder_size(folder: Path) -> int:
    """Return the bytes of the files in a checkpoint's folder."""
    return sum(path.stat().st_size for path in folder.iterdir())
