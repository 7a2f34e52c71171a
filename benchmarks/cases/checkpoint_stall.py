"""How long a checkpoint holds up training, against a bare copy of its tensors, and against writing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.comparison import Call, Case, Comparison, Variant
from benchmarks.work import CHANNELS, CLASSES
from triptych.backbones.unet import UNetConfig
from triptych.checkpoints.contents import Contents
from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.write import write
from triptych.commands.bench import BenchOptions
from triptych.training.config import TrainingConfig
from triptych.training.saving import sound_copy
from triptych.training.state import TrainState

BASE = "copy"
SIZE, QUICK_SIZE = 32, 8
NAME = "epoch-00001"


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return the one comparison: on the network of the default sizes, in training with two averages."""
    config = (
        UNetConfig(width=16, multipliers=(1,), blocks=1, attention=(), groups=4)
        if options.quick
        else UNetConfig()
    )
    size = QUICK_SIZE if options.quick else SIZE
    parameters = sum(p.numel() for p in config.build(CHANNELS, size, CLASSES).parameters())
    calls: dict[str, Callable[[Contents], Call]] = {BASE: copying, "stall": stalling, "whole": writing}
    variants = {name: Variant(lambda call=call: call(contents(config, size))) for name, call in calls.items()}
    return [Comparison(f"unet, {parameters / 1e6:.1f}M parameters", 0, 1, BASE, variants)]


def contents(config: UNetConfig, size: int) -> Contents:
    """Return what a checkpoint of a run holds after its first step."""
    torch.manual_seed(0)
    network = config.build(CHANNELS, size, CLASSES)
    state = TrainState.fresh(network, TrainingConfig())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    return state.contents(NAME, 1.0)


def copying(held: Contents) -> Call:
    """Return a bare copy of every tensor, which nothing that goes on meanwhile can do without."""
    tensors = [tensor for named in held.tensors.values() for tensor in named.values()]

    def copy() -> Sequence[Tensor]:
        return [tensor.clone() for tensor in tensors][:0]

    return copy


def stalling(held: Contents) -> Call:
    """Return the part of a save that training waits for."""

    def stall() -> Sequence[Tensor]:
        sound_copy(held)
        return ()

    return stall


def writing(held: Contents) -> Call:
    """Return a save until it is safe: encoded, flushed, read back, published."""

    def whole() -> Sequence[Tensor]:
        with TemporaryDirectory(prefix="checkpoint-stall-") as place:
            write(Path(place) / FOLDER, NAME, held)
        return ()

    return whole


CASE = Case("what a checkpoint holds up training, against a bare copy and the whole save", comparisons)
