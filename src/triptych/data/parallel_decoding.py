"""Many pictures decoded into one array, by several processes where there are thousands.

The processes import `triptych.decoding` and nothing else of ours: they start without loading torch. No more
than a few batches are on their way at any time, and the result does not depend on who decoded what.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from triptych.decoding import Shape, decode_batch, prepare_process
from triptych.errors import UserError
from triptych.work import Watch, Work, unwatched

WORTH_PROCESSES = 4_000
"""Pictures; fewer are decoded before other processes have started."""
MOST_PROCESSES = 16
BATCH_BYTES = 2**23
"""Neither the pixels of a batch nor the files that are held of it take more, unless it is of one picture."""
LARGEST_BATCH = 64
"""Pictures."""

NO_PROCESSES = (BrokenExecutor, OSError, NotImplementedError)
"""What a pool raises whose processes were killed or cannot be started: where the system has no semaphores, no
shared memory, or no room for one more."""


Batch = TypeVar("Batch")
"""What comes of the pictures of a batch."""


class Picture(NamedTuple):
    """A picture that is still to be decoded."""

    name: str
    """What a message calls it."""
    data: bytes | Path
    """Its file, or the bytes of one."""


def decode_all(
    pictures: Iterable[Picture], places: Sequence[int], side: int, asked: str, watch: Watch = unwatched
) -> tuple[np.ndarray, int]:
    """Decode pictures by the rule of `triptych.decoding`.

    Args:
        pictures: as many as there are places, taken a few at a time.
        places: where among the images each picture belongs: a permutation of 0 to N - 1.
        side: S, pixels.
        asked: what the user named, for messages that are not about one picture.
        watch: sees how many are decoded, once for each batch.

    Returns:
        The images, uint8 [N, 3, S, S], and how many of them the rule had to change.

    Raises:
        UserError: a picture cannot be decoded, there is no memory for all, or the size is none.
    """
    if side < 1:
        raise UserError(f"--data.image-size {side}", "no image is so small", "choose 1 or more pixels")
    images = room(len(places), (3, side, side), asked, "choose a smaller --data.image-size")
    changed = done = 0
    work = Work("decoding pictures, once for these files", 0, len(places))
    watch(work)
    decode = partial(decode_batch, side=side)
    with closing(in_batches(pictures, len(places), 3 * side * side, decode)) as decoded_batches:
        for batch, decoded in decoded_batches:
            if decoded.fault:
                raise UserError(batch[len(decoded.pixels)].name, decoded.fault, "mend or remove it")
            images[list(places[done : done + len(batch)])] = decoded.pixels
            changed += decoded.changed
            done += len(batch)
            watch(work._replace(done=done))
    return images, changed


def in_batches(
    pictures: Iterable[Picture], count: int, size: int, decode: Callable[[Sequence[bytes | Path]], Batch]
) -> Generator[tuple[list[Picture], Batch]]:
    """Yield pictures a batch at a time, in order, with what comes of them; thousands by several processes.

    Args:
        pictures: taken a few at a time.
        count: how many there are.
        size: bytes of the pixels of one.
        decode: a function of `triptych.decoding`, or a partial of one, for it may run in another process.
    """
    return _decoded(_batches(pictures, size), decode, _processes(count))


def room(count: int, shape: Shape, asked: str, remedy: str) -> np.ndarray:
    """Return an array for images of a shape, uint8 [count, *shape]; raise `UserError` without the memory."""
    try:
        return np.empty((count, *shape), np.uint8)
    except (MemoryError, ValueError) as error:
        _, height, width = shape
        found = f"{count:,} images of {width}x{height} take {count * math.prod(shape) / 2**30:,.1f} GiB"
        raise UserError(asked, found, remedy) from error


def _processes(count: int) -> int:
    """Return how many processes should decode so many pictures; 1: this one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by launchers: all of them decode at once
    return max(1, min(cores // ranks, MOST_PROCESSES)) if count >= WORTH_PROCESSES else 1


def _batches(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    largest = max(1, min(LARGEST_BATCH, BATCH_BYTES // size))
    batch: list[Picture] = []
    held = 0
    for picture in pictures:
        more = len(picture.data) if isinstance(picture.data, bytes) else 0
        if batch and (len(batch) == largest or held + more > BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(picture)
        held += more
    if batch:
        yield batch


def _pool(processes: int) -> ProcessPoolExecutor | None:
    """Return a pool of processes; None where there can be none."""
    try:
        # Spawned, not forked: a fork would copy the locks of torch's threads in whatever state they are.
        return ProcessPoolExecutor(processes, get_context("spawn"), initializer=prepare_process)
    except NO_PROCESSES:
        return None


def _decoded(
    batches: Iterator[list[Picture]], decode: Callable[[Sequence[bytes | Path]], Batch], processes: int
) -> Generator[tuple[list[Picture], Batch]]:
    """Yield each batch with its pixels, in order; what no other process decodes is decoded here."""

    def here(batch: list[Picture]) -> Batch:
        return decode([picture.data for picture in batch])

    pool = _pool(processes) if processes > 1 else None
    if pool is None:
        yield from ((batch, here(batch)) for batch in batches)
        return
    pending: deque[tuple[list[Picture], Future[Batch] | None]] = deque()

    def oldest() -> tuple[list[Picture], Batch]:
        batch, future = pending.popleft()
        try:
            return batch, future.result() if future else here(batch)
        except NO_PROCESSES:
            return batch, here(batch)

    def submit(batch: list[Picture]) -> Future[Batch] | None:
        try:
            return pool.submit(decode, [picture.data for picture in batch])
        except NO_PROCESSES:
            return None

    try:
        for batch in batches:
            pending.append((batch, submit(batch)))
            if len(pending) > 2 * processes:
                yield oldest()
        while pending:
            yield oldest()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
