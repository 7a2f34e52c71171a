"""The processes that train or measure together: who is who, and what each of them does.

Processes are started by torchrun, which tells each its rank by environment variables
(https://docs.pytorch.org/docs/stable/elastic/run.html). Without them there is one rank, and everything
here costs nothing.
"""

from __future__ import annotations

import atexit
import gc
import os
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Generic, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from triptych.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others, unless they have died: the first one decodes images meanwhile."""
LINGERING = 0.5
"""Seconds that a process which fails waits at its end for its threads to let go of what they sent."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that work together.

    Attributes:
        rank: its number, from 0; the first one alone writes and speaks.
        size: how many there are.
        local_rank: its number on its machine, which is that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    @property
    def many(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    def share(self, count: int) -> range:
        """Return which of `count` things this rank does: consecutive ones, as many as others or one more."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up `tensor` over all ranks, in place, and return it: the same bits on every rank."""
        if self.many:
            dist.all_reduce(tensor)
        return tensor

    def agree(self, value: T) -> T:
        """Return what `value` is on the first rank."""
        if not self.many:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Return on the first rank what `value` is on each, in their order; on the others nothing."""
        if not self.many:
            return [value]
        box: list[T | None] | None = [None] * self.size if self.first else None
        dist.gather_object(value, box, dst=0)
        return cast(list[T], box or [])

    def lead(self, action: Callable[[], T]) -> T:
        """Let the first rank do `action`, and return what came of it on every rank.

        Raises:
            UserError: the action did, on the first rank; then on every other too.
            LostRank: the action failed otherwise on the first rank, which raises what it met there.
        """
        if not self.many:
            return action()
        if not self.first:
            return self.agree(_Outcome[T]()).result()
        return self._tell(action, self.agree).result()

    def together(self, action: Callable[[], T]) -> T:
        """Let every rank do `action`, which must not speak with the others, and return what came of it here.

        Raises:
            UserError: the action did, on any rank; then on every other too, so that the first can tell it.
            LostRank: the action failed otherwise on another rank, which raises what it met there.
        """
        if not self.many:
            return action()
        found: list[T] = []
        for outcome in self._tell(lambda: found.append(action()), self._exchange):
            outcome.result()
        return found[0]

    def _tell(self, action: Callable[[], T], tell: Callable[[_Outcome[T]], R]) -> R:
        """Do `action`, `tell` the other ranks what came of it, and return what that returns."""
        try:
            outcome = _Outcome(action())
        except UserError as error:
            outcome = _Outcome[T](refusal=(error.asked, error.found, error.remedy))
        except Exception as error:  # an interruption ends this process at once, which the others notice
            reason = f"{type(error).__name__}: {_one_line(error)}"
            tell(_Outcome(fault=f"rank {self.rank} of {self.size} failed ({reason})"))
            raise
        return tell(outcome)

    def _exchange(self, value: T) -> list[T]:
        """Return what `value` is on each rank, in their order."""
        box: list[T | None] = [None] * self.size
        dist.all_gather_object(box, value)
        return cast(list[T], box)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first rank of each machine go through this context before its others do."""
        if self.many and self.local_rank:
            dist.barrier()
        try:
            yield
        finally:
            if self.many and not self.local_rank:
                dist.barrier()

    def spread(self, tensors: dict[str, Tensor]) -> None:
        """Overwrite the tensors of every rank by those of the first, one after another."""
        if self.many:
            for tensor in tensors.values():
                dist.broadcast(tensor, src=0)


@dataclass(frozen=True)
class _Outcome(Generic[T]):
    """What came of an action on one rank, as the others are told.

    Attributes:
        found: what it returned.
        refusal: of what the `UserError` consists that it raised instead.
        fault: which rank raised anything else, in words.
    """

    found: T | None = None
    refusal: tuple[str, str, str] | None = None
    fault: str = ""

    def result(self) -> T:
        """Return what was found, or raise what there was instead."""
        if self.refusal is not None:
            raise UserError(*self.refusal)
        if self.fault:
            raise LostRank(self.fault)
        return cast(T, self.found)


ALONE = Ranks()


@contextmanager
def joined(patience: timedelta = PATIENCE) -> Iterator[Ranks]:
    """Join the processes that torchrun started, and leave them at the end; alone where it started none.

    What speaks with them, such as a `DistributedDataParallel`, must not be referred to any more by then,
    but from where the garbage collector finds it. An exception leaves them as it ends the process.

    Args:
        patience: how long they wait for one another. One that dies is noticed at once, whatever that is.

    Raises:
        UserError: the others could not be reached, or a machine has fewer GPUs than processes.
        LostRank: another of them died or fell silent.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    ranks = Ranks(rank, size, int(os.environ.get("LOCAL_RANK", "0")))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    # Default arguments of its functions are the group that there is when it is imported, for ever after.
    import_module("torch.distributed.nn")
    try:
        if (store := _store_of_attempt()) is None:
            dist.init_process_group(backend, timeout=patience)
        else:
            dist.init_process_group(backend, timeout=patience, store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError("join the other processes", reason, "start all of them by one torchrun") from error
    try:
        ranks.together(lambda: _take_gpu(ranks.local_rank))
        yield ranks
    except BaseException as error:
        # A thread that lets go of a tensor as the interpreter ends would abort it, and its exit code be lost.
        atexit.register(time.sleep, LINGERING)
        if not isinstance(error, RuntimeError) or isinstance(error, LostRank) or not _is_lost(error):
            raise
        raise LostRank(f"rank {rank} of {size} lost touch with another ({_one_line(error)})") from error
    # The threads of the group end with it, once nothing refers to it. After an exception others may not be
    # there to end with.
    gc.collect()
    dist.destroy_process_group()


def _store_of_attempt() -> dist.Store | None:
    """Return where the ranks of this start find each other; None: what torch chooses is right.

    torchrun hands the same store to all of its restarts, in which the ranks would find the addresses of
    those that died (pytorch issue 135712), and wait for them. On several machines it counts the restarts
    of each, so that they cannot be told apart by that; docs/training.md says what to do there.
    """
    launcher = os.environ
    kept = launcher.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not kept or launcher.get("LOCAL_WORLD_SIZE") != launcher["WORLD_SIZE"]:
        return None
    store, _, _ = next(dist.rendezvous("env://"))
    return dist.PrefixStore(f"attempt-{launcher.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


class LostRank(RuntimeError):  # noqa: N818
    """Another process died or fell silent: this one cannot go on, and torchrun starts all of them again."""


def _is_lost(error: RuntimeError) -> bool:
    """Tell whether `error` is that of a connection, which backends raise without a class of its own."""
    signs = ("gloo", "NCCL", "closed by peer", "reset by peer")
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in signs)


def _one_line(error: Exception) -> str:
    """Return what `error` says, abridged to a line."""
    return textwrap.shorten(str(error), 200, placeholder=" ...")


def _take_gpu(local_rank: int) -> None:
    """Compute on the GPU of this process's number on its machine, where that has GPUs."""
    if not torch.cuda.is_available():
        return
    processes = max(local_rank + 1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise UserError(
            f"start {processes} processes on a machine",
            f"it has {gpus} GPU{'s' if gpus > 1 else ''}",
            "start one for each, or hide them by CUDA_VISIBLE_DEVICES= to compute on processors",
        )
    torch.cuda.set_device(local_rank)
