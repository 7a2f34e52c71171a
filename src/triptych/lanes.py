"""Work that a device does beside other work, and how long it took: streams and events of CUDA.

A processor, and a GPU of another make, has one lane: what is asked of it is done in turn.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from triptych.devices import stream_beside, synchronize


class Lane:
    """A queue of work beside the one that a device usually has.

    Args:
        device: that does the work.
    """

    def __init__(self, device: torch.device):
        self._stream = stream_beside(device, "lane") if device.type == "cuda" else None

    @property
    def beside(self) -> bool:
        """Whether work in it goes on while the host, and the usual queue, do other things."""
        return self._stream is not None

    @contextmanager
    def after(self, *given: Tensor) -> Iterator[None]:
        """Queue what is asked for inside here, to begin when all that was queued so far is done.

        Args:
            given: what it reads of that; kept until it is read.
        """
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        for tensor in given:
            tensor.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            yield


class Moment:
    """When all that was queued before is done, in the lane in which it is made. Other queues go on.

    Args:
        device: that does the work; one without lanes is waited for at once.
    """

    def __init__(self, device: torch.device):
        self._event: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._event = torch.cuda.Event(enable_timing=True)
            self._event.record(torch.cuda.current_stream(device))
        else:
            synchronize(device)
            self._time = time.perf_counter()

    def wait(self) -> None:
        """Wait until it has come."""
        if self._event is not None:
            self._event.synchronize()

    def since(self, earlier: Moment) -> float:
        """Return the seconds since an earlier moment of the same device, after waiting for this one."""
        self.wait()
        if self._event is not None and earlier._event is not None:
            return earlier._event.elapsed_time(self._event) / 1000
        return self._time - earlier._time
