"""Energy is what the device counts, and nothing where it does not."""

import math
import sys
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from triptych.distributed import ALONE
from triptych.energy import energy_meter
from triptych.training import stopwatch
from triptych.training.stopwatch import Stopwatch

GPU = SimpleNamespace(type="cuda")


def library(uuid="GPU-abc", fault=None):
    """Return NVML's binding, of one device whose counter runs on by 1,500 mJ a look."""
    counter = count(7_001_500, 1500)

    def handle(asked):
        assert asked == uuid
        return "handle"

    def energy(handle):
        if fault:
            raise fault
        return next(counter)

    names = ("nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption")
    return SimpleNamespace(**dict(zip(names, (lambda: None, handle, energy), strict=True)))


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="abc"))
    return lambda library: monkeypatch.setitem(sys.modules, "pynvml", library)


def test_a_gpu_tells_joules(gpu):
    gpu(library())
    meter = energy_meter(GPU)
    assert meter() == 7003.0 and meter() == 7004.5


@pytest.mark.parametrize("found", [None, library(fault=RuntimeError("not supported")), library("GPU-other")])
def test_a_gpu_that_does_not_count_tells_nothing(gpu, found):
    gpu(found)
    assert math.isnan(energy_meter(GPU)())


def test_a_processor_tells_nothing():
    assert math.isnan(energy_meter(torch.device("cpu"))())
    assert Stopwatch(torch.device("cpu")).sum_up(ALONE).energy is None


def test_an_attempt_takes_what_was_counted_since_it_began_on_all_ranks(monkeypatch):
    counts = iter([100.0, 103.5])
    monkeypatch.setattr(stopwatch, "energy_meter", lambda device: lambda: next(counts))
    watch = Stopwatch(torch.device("cpu"))
    others = SimpleNamespace(gather=lambda joules: [joules, 4.0])
    times = watch.sum_up(others)
    assert times.energy == 7.5 and times.total > 0
