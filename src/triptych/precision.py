"""Which numbers a network computes with: the fastest that its device gains by, and nothing beyond."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from triptych.errors import UserError

Precision = Literal["auto", "float32", "bf16", "fp16"]

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Every precision by its name in recipes and records."""


def best_precision(device: torch.device) -> str:
    """Return the precision in which `device` computes a network fastest without harm.

    bf16 from Ampere on (compute capability 8.0); fp16 on Volta and Turing (7.x), whose bf16 is emulated;
    float32 on Pascal, where half precision saves memory and no time, and on every processor.
    """
    if device.type != "cuda":
        return "float32"
    major, _ = torch.cuda.get_device_capability(device)
    return "bf16" if major >= 8 else "fp16" if major == 7 else "float32"


def select_precision(
    name: str, device: torch.device, *, force: bool = False, remedy: str = "leave it at auto"
) -> str:
    """Return the precision called `name`, one of `DTYPES`; `auto` is the device's best.

    float32 is always granted, and half precision where the device gains by it.

    Args:
        name: `auto`, `float32`, `bf16` or `fp16`.
        device: that computes.
        force: grant anything.
        remedy: what the user can do, for messages.

    Raises:
        UserError: the device would lose by it.
    """
    best = best_precision(device)
    if name == "auto":
        return best
    gains = {"float32", best} | ({"fp16"} if best == "bf16" else set())
    if name not in gains and not force:
        found = {
            "cpu": "a processor computes it up to a hundred times slower than float32",
            "mps": "it was never tried on this device",
        }.get(device.type, f"this GPU gains nothing by it: {best} is what suits it")
        raise UserError(f"--precision {name} on {device.type}", found, remedy)
    return name


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32, or as it is where it is more precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def product_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype that a layer's products with `x` have here: autocast's, where it is on."""
    device = x.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if on else x.dtype


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which operations keep the precision of their tensors, on any device."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()
