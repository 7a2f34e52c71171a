"""Whether there is the memory that a network takes in training, asked before any of it is taken."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from triptych.allocator import freed_memory
from triptych.backbones.costs import outline
from triptych.devices import device_name
from triptych.errors import UserError
from triptych.report.numbers import count
from triptych.training.disk import full_size, size, weights_size

if TYPE_CHECKING:
    from triptych.data.dataset import Dataset
    from triptych.experiment import ExperimentConfig

MEMINFO = Path("/proc/meminfo")
"""What Linux tells of the machine's memory."""
GROUP = Path("/sys/fs/cgroup")
"""What it tells of the part of it that a container may take."""


def check_memory(
    experiment: ExperimentConfig,
    dataset: Dataset,
    device: torch.device,
    averages: int = 1,
    *,
    saves: bool = True,
) -> None:
    """Raise `UserError` where what trains the network of `experiment` cannot be held.

    What steps compute in between comes on top, and is not known here: training may still find too little.

    Args:
        experiment: what is to be trained.
        dataset: its images.
        device: where it is to be trained.
        averages: of the weights that are kept.
        saves: whether this process writes the checkpoints, each from a copy in the host's memory.
    """
    classes = len(dataset.class_names) if experiment.conditional else 0
    network = outline(experiment.backbone, dataset.channels, dataset.image_size, classes)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    whole, copy = training_bytes(network, averages), full_size(network, averages)
    held = f"weights, gradients, 2 averages of AdamW and {averages} of the weights"
    needs = {device: (whole, held)}
    if saves and device.type == "cpu":
        needs[device] = whole + copy, f"{held}, and a copy for the checkpoint that is being written"
    elif saves:
        needs[torch.device("cpu")] = copy, "what a checkpoint is written from"
    for place, (need, told) in needs.items():
        free = free_bytes(place)
        if free is not None and need > free:
            gc.collect()  # an earlier run of this process may lie there still
            free = free_bytes(place)
        if free is not None and need > free:
            found = (
                f"its {count(parameters)} parameters take {size(need)} of memory ({told}), "
                f"and {size(free)} are free on {device_name(place)}"
            )
            raise UserError(f"train {experiment.name}", found, "choose smaller sizes, or another --device")


def training_bytes(network: nn.Module, averages: int = 1) -> int:
    """Return the bytes of what trains a network: weights, their averages, gradients, AdamW's two averages."""
    trained = sum(parameter.nbytes for parameter in network.parameters())
    return (1 + averages) * weights_size(network) + 3 * trained


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes that tensors may still take on a device; None where the system does not tell.

    What this process has freed and keeps for itself is part of it.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    told = [free for free in (free_of_machine(), free_of_group()) if free is not None]
    return min(told) + freed_memory() if told and device.type == "cpu" else None


def free_of_machine() -> int | None:
    """Return the bytes that the machine can give without moving others out of memory; None: not told."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None


def free_of_group() -> int | None:
    """Return the bytes left to this process's control group, such as a container; None: it has no limit.

    Cached files count as taken there; those that nobody uses are given back when memory is asked for.
    """
    try:
        limit, taken = ((GROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        unused = re.search(r"^inactive_file (\d+)$", (GROUP / "memory.stat").read_text(), re.MULTILINE)
    except OSError:
        return None
    if not (limit.isdecimal() and taken.isdecimal()):
        return None
    return max(0, int(limit) - int(taken) + (int(unused[1]) if unused else 0))
