"""A step is asked for and left to the device: the host waits for none of its numbers."""

from collections import Counter

import pytest
import torch
from backbones.small import SMALL
from torch.utils._python_dispatch import TorchDispatchMode
from training import worker

from triptych.distributed import ALONE
from triptych.training import step
from triptych.training.guard import LEAST_NORMS


class Readings(TorchDispatchMode):
    """Counts how often the host reads numbers of tensors, of one or of many at once."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __enter__(self):
        self._patches = pytest.MonkeyPatch()
        for name in ("tolist", "numpy"):
            self._patches.setattr(torch.Tensor, name, self._reading(getattr(torch.Tensor, name)))
        return super().__enter__()

    def __exit__(self, *raised):
        self._patches.undo()
        return super().__exit__(*raised)

    def _reading(self, honest):
        def read(tensor):
            # Whole numbers are the order of images, which is the host's own.
            self.count["read"] += tensor.dtype != torch.int64
            return honest(tensor)

        return read

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.count["read" if "_local_scalar_dense" in str(function) else "other"] += 1
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("kind", SMALL)
def test_a_step_reads_no_number(kind, monkeypatch):
    # On a processor, where it costs nothing, the averages ask whether the step was masked.
    monkeypatch.setattr(step, "update_ema", lambda *_: None)
    takes = worker.stepper(ALONE, torch.float32, backbone=SMALL[kind])
    for _ in range(LEAST_NORMS + 1):  # from then on every part of the guard has its say
        takes.take()
    with Readings() as readings:
        for _ in range(5):  # at the end of an epoch too, which has 29 images for batches of 7
            takes.take()
    assert readings.count["read"] == 0
    assert readings.count["other"] > 100
    with Readings() as readings:
        takes.read()
    assert readings.count["read"] > 0
