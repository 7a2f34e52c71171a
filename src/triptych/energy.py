"""The energy that a device takes, where it counts it: NVIDIA's GPUs since Volta, by their own library."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module

import torch

Meter = Callable[[], float]
"""Returns the joules that a device has taken since some moment in the past; NaN where it does not tell."""


def silent() -> float:
    """Return what a device tells that counts nothing."""
    return math.nan


def energy_meter(device: torch.device) -> Meter:
    """Return the meter of a device; a silent one where it has none, or `nvidia-ml-py` is not installed."""
    if device.type != "cuda":
        return silent
    try:
        library = import_module("pynvml")
        library.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        library.nvmlDeviceGetTotalEnergyConsumption(handle)  # refused by older GPUs
    except Exception:  # a missing package, or whatever the library raises: there is no meter
        return silent
    return lambda: library.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000  # from millijoules
