"""Which device computes, and what it is called."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from triptych.errors import UserError

TYPES = ("cpu", "cuda", "mps")
"""The types of device that everything runs on; torch knows more, and some of them hold no numbers."""


def select_device(name: str = "auto") -> torch.device:
    """Return the device called `name`: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        UserError: this machine, or this build of torch, has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in TYPES:
            raise UserError(
                f"--device {name}",
                "it is not a type of device that everything runs on",
                f"choose auto, {', '.join(TYPES)}",
            )
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = f"torch {torch.__version__} finds no such device"
        raise UserError(f"--device {name}", found, "choose auto or cpu") from error
    return device


@cache
def stream_beside(device: torch.device, purpose: str) -> torch.cuda.Stream:
    """Return a GPU's queue of work beside the usual one: for each purpose its own, and always the same.

    While calls are recorded in one, no other work may be in it; and libraries hold memory for each that there
    ever was.
    """
    return torch.cuda.Stream(device)


def device_name(device: torch.device) -> str:
    """Return what the hardware calls itself, such as `NVIDIA H200` or `AMD EPYC (2 threads)`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":", 1)[1] for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = models[0].strip() if models else processor
    return (
        f"{processor} ({threads} thread{'s' if threads > 1 else ''})"
        if device.type == "cpu"
        else f"{processor} (MPS)"
    )


def device_count(device: torch.device) -> int:
    """Return how many devices of this type the machine has."""
    return torch.cuda.device_count() if device.type == "cuda" else 1


def precise_dtype(device: torch.device) -> torch.dtype:
    """Return the most precise kind of number that the device has: MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def send(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor of the host on `device`, without waiting for what that is still doing."""
    return tensor.to(device, dtype, non_blocking=device.type == "cuda")


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
