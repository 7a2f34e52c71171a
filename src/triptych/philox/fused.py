"""Which code draws words on a device: tensor operations, or on a GPU a kernel that gives the same bits.

The operations are hundreds for each draw, and a step with dropout makes dozens of draws: on a GPU they would
take longer than the network. Triton's kernel is tried before it is used, once per process and device, and
where it is missing, fails or differs in a single bit, the operations draw.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Protocol, cast

import torch
from torch import Tensor

from triptych.philox import reference


class Draws(Protocol):
    """Code that draws."""

    def words(self, seed: int, stream: int, step: int, index: Tensor, count: int) -> Tensor:
        """Return what `reference.words` does."""
        ...

    def below(self, threshold: int, seed: int, stream: int, step: int, index: Tensor, count: int) -> Tensor:
        """Return what `reference.below` does."""
        ...


REFERENCE = cast(Draws, reference)
KERNELS = "triptych.philox.triton_kernels"
CHOSEN: dict[int, Draws] = {}
"""What draws on each GPU of this process."""

KEYS = ((0, 0, 0), (7, 3, 12), (2**32 - 1, 2**31 + 5, 2**32 - 2))
"""Seeds, streams and steps of the trial."""
COUNTS = (1, 4, 6, 37)


def drawn_by(device: torch.device) -> Draws:
    """Return what draws on a device."""
    if device.type != "cuda":
        return REFERENCE
    number = torch.cuda.current_device() if device.index is None else device.index
    if number not in CHOSEN:
        CHOSEN[number] = _chosen(torch.device("cuda", number))
    return CHOSEN[number]


def _chosen(device: torch.device) -> Draws:
    """Return the kernels where they draw on `device` what the operations draw, otherwise these."""
    try:
        kernels = cast(Draws, importlib.import_module(KERNELS))
        if tried(kernels, device):
            return kernels
        reason = "it draws something else"
    except ModuleNotFoundError as error:
        if error.name == "triton":
            return REFERENCE
        reason = str(error)
    except Exception as error:  # whatever a compiler or a kernel does
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    warnings.warn(f"random numbers take many operations on the GPU: no kernel ({reason})", stacklevel=4)
    return REFERENCE


def tried(kernels: Draws, device: torch.device) -> bool:
    """Whether kernels draw on a device what the operations draw there."""
    index = torch.tensor([0, 1, 5, 2**31, 2**32 + 3, 2**40 + 9] * 60, device=device)
    return all(
        torch.equal(kernels.words(*key, index, count), reference.words(*key, index, count))
        and all(
            torch.equal(
                kernels.below(threshold, *key, index, count), reference.below(threshold, *key, index, count)
            )
            for threshold in (0, 21845, 65536)
        )
        for key in KEYS
        for count in COUNTS
    )
