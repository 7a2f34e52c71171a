"""A function that a GPU computes as one graph, recorded once: its hundreds of kernels start at a stroke.

Small images keep a GPU so briefly that the host, which starts one kernel after another, is what takes the
time. A recording (torch.cuda.CUDAGraph) starts them all at once, on the addresses that they had when it was
made: so inputs are copied to where they were then, and the output is copied away before it is overwritten.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor

from triptych.devices import stream_beside

Function = Callable[..., Tensor]
"""From tensors, or None in the place of one, to a tensor."""

WARM_UP = 2
"""Calls before one is recorded, in which libraries choose their kernels and take their memory."""
MOST = 8
"""Recordings that are kept: whole batches, the last one and pictures, each with guidance and without."""


class Recording(NamedTuple):
    """A call that was recorded: `replay` computes it anew, from what lies in the inputs, into `output`."""

    replay: Callable[[], object]
    output: Tensor


Record = Callable[[Function, Sequence[Tensor | None]], Recording]
"""Records a call of a function on these inputs."""


class Recorder:
    """Records calls on a GPU, one after another into the same memory: no two are replayed at once."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, function: Function, inputs: Sequence[Tensor | None]) -> Recording:
        """Return a recording of a call on the device of the inputs.

        Raises:
            RuntimeError: something in it cannot be recorded.
            ValueError: the inputs are on no GPU that CUDA knows.
        """
        device = next(x.device for x in inputs if x is not None)
        with torch.cuda.device(device):
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            here, aside = torch.cuda.current_stream(), stream_beside(device, "recording")
            aside.wait_stream(here)
            graph = torch.cuda.CUDAGraph()
            # Entered by hand: a recording that fails leaves its own stream the current one.
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    function(*inputs)
                # Another thread may use the device meanwhile, and is no part of it.
                with torch.cuda.graph(graph, self._pool, aside, capture_error_mode="thread_local"):
                    output = function(*inputs)
            here.wait_stream(aside)
        return Recording(graph.replay, output)


class Replayed:
    """A function whose calls are recorded and replayed, one recording for each set of shapes.

    What it computes may depend on its inputs alone, and on tensors that stay where they are; the function
    must not refer to what holds this, which would keep the memory of both. Calls with gradients are as they
    were. Where something cannot be recorded it is called as it is, from then on, with a warning. Threads take
    turns.

    Args:
        function: of tensors.
        name: what warnings call it.
        record: how a call is recorded; None: on the GPU that its inputs are on.
    """

    def __init__(self, function: Function, name: str, record: Record | None = None):
        self.function, self.name, self.record = function, name, record or Recorder()
        self.refused = False
        """Whether something could not be recorded."""
        self._recorded: dict[tuple, tuple[Sequence[Tensor | None], Recording]] = {}
        self._turn = Lock()

    @property
    def recorded(self) -> bool:
        """Whether there are recordings; where something was refused, all are given up."""
        return bool(self._recorded)

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        """Return the function of these inputs."""
        if self.refused or torch.is_grad_enabled():
            return self.function(*inputs)
        shapes = tuple(None if x is None else (x.shape, x.stride(), x.dtype, x.device) for x in inputs)
        with self._turn:
            if shapes not in self._recorded and not self._take_up(shapes, inputs):
                return self.function(*inputs)
            # The one that was used longest ago is the first to be given up.
            places, recording = self._recorded[shapes] = self._recorded.pop(shapes)
            for place, x in zip(places, inputs, strict=True):
                if place is not None and x is not None:
                    place.copy_(x)
            recording.replay()
            return recording.output.clone()

    def _take_up(self, shapes: tuple, inputs: Sequence[Tensor | None]) -> bool:
        """Record a call of these shapes; return whether that succeeded."""
        while len(self._recorded) >= MOST:
            del self._recorded[next(iter(self._recorded))]
        try:
            # What is made in inference mode could not be written to outside of it.
            with torch.inference_mode(False), torch.no_grad():
                places = [None if x is None else x.clone() for x in inputs]
                self._recorded[shapes] = places, self.record(self.function, places)
        except (RuntimeError, ValueError) as error:  # a kernel that waits for the host, no memory, no GPU
            self.refused = True
            self._recorded.clear()
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            warnings.warn(f"{self.name} is called kernel by kernel: no CUDA graph ({reason})", stacklevel=4)
        return not self.refused
