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
from dataclasses import dataclass, replace
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
class Begun:
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
        self._begun: Begun | None = None
        self._outcome: Future[Saved] | None = None
        """Of the thread's work, on the first rank."""

    def __enter__(self) -> Saver:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        # The run's lock is held until nothing is written any more, however often the user interrupts.
        while self._outcome is not None and not self._outcome.done():
            if interrupted:
                self._given_up.set()
            try:
                futures.wait([self._outcome])
            except KeyboardInterrupt:
                interrupted = True
        self._pool.shutdown()
        if interrupted and kind is None:
            raise KeyboardInterrupt

    def begin(self, begun: Begun, contents: Callable[[], Contents]) -> None:
        """Begin to write what `contents` returns, which may change as soon as this returns.

        What was begun before must have been collected.

        Raises:
            Unsound: weights are not finite, so that nothing was begun.
        """
        assert self._begun is None
        with begun.waited_for():
            unsound = self.ranks.lead(lambda: self._hand_over(begun, contents()))
        if unsound:
            raise Unsound(unsound)
        self._begun = begun

    def _hand_over(self, begun: Begun, contents: Contents) -> str:
        """Give a copy of `contents` to the thread; return what forbids it, if anything does."""
        start = time.perf_counter()
        try:
            copy = sound_copy(contents)
        except NonFiniteWeights as error:
            return str(error)
        self._outcome = self._pool.submit(self._write, begun, copy, start)
        return ""

    def collect(self, *, wait: bool) -> tuple[int, Saved] | None:
        """Return what to record of the save that was begun, and its step; None: there is none, or not yet.

        Args:
            wait: whether to wait until it is safe.

        Raises:
            UserError: the disk refused it; nothing that was saved before is touched.
        """
        if (begun := self._begun) is None:
            return None
        with begun.waited_for():
            saved = self.ranks.lead(lambda: self._result(wait))
        if saved is None:
            return None
        self._begun = None
        return begun.step, replace(saved, stalled=begun.stalled)

    def _result(self, wait: bool) -> Saved | None:
        assert self._outcome is not None
        return self._outcome.result() if wait or self._outcome.done() else None

    def _write(self, begun: Begun, copy: Contents, start: float) -> Saved:
        """Write a checkpoint, and do with older ones as the rule says: the work of the thread."""
        name = begun.checkpoint
        folder = write_finite(self.root, name, copy, self._proceed)
        self._proceed()  # what is left is not worth a wait
        chosen = best_checkpoints([event.data for event in self.record.history().of_kind(Evaluated)])
        pruned = prune(self.root, self.rule, chosen)
        size, took = folder_size(folder), time.perf_counter() - start
        return Saved(begun.epoch, name, size, took, pruned.removed, thinned=pruned.thinned)

    def _proceed(self) -> None:
        if self._given_up.is_set():
            raise CancelledError


def sound_copy(contents: Contents) -> Contents:
    """Return a copy of what is to be saved, in the host's memory: what training waits for.

    Raises:
        NonFiniteWeights: it must not be saved.
    """
    copy = contents.copied()
    refuse_non_finite(copy)
    return copy


def folder_size(folder: Path) -> int:
    """Return the bytes of the files in a checkpoint's folder."""
    return sum(path.stat().st_size for path in folder.iterdir())
