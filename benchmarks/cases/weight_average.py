"""A moving average of the weights, against others' and against what the memory allows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.comparison import COPY, Absent, Call, Case, Comparison, Variant
from benchmarks.peers import diffusers, release
from benchmarks.work import our_network, parameters
from triptych.backbones.unet import UNetConfig
from triptych.commands.bench import BenchOptions
from triptych.training.ema import update_ema

OURS = "triptych"
DECAY = 0.999
BYTES = 12
"""That a parameter moves: two numbers are read, and one is written."""
SIZE, QUICK_SIZE = 32, 8


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return the one comparison: of the weights of the default UNet."""
    config = UNetConfig(width=32, attention=(4,)) if options.quick else UNetConfig()
    size = QUICK_SIZE if options.quick else SIZE

    def bytes_moved() -> dict[str, float]:
        return {COPY: BYTES * sum(p.numel() for p in our_network(config, size).parameters())}

    def of(update: Callable[[nn.Module], Call], note: str = "") -> Variant:
        def make() -> Call:
            network = our_network(config, size)
            call = update(network)
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.add_(0.01)  # so that there is something to move towards
            return call

        return Variant(
            make, note=note, facts=lambda: parameters(our_network(config, size)), operations=bytes_moved
        )

    library = diffusers()

    def theirs(foreach: bool) -> Variant:
        if isinstance(library, Absent):
            return Variant(library)
        return of(lambda network: diffused(library, network, foreach), release("diffusers"))

    variants = {
        OURS: of(ours),
        "torch AveragedModel": of(torchs),
        "diffusers EMAModel": theirs(foreach=False),
        "diffusers EMAModel, foreach": theirs(foreach=True),
    }
    return [Comparison("unet", 0, 1, OURS, variants)]


def ours(network: nn.Module) -> Call:
    """Return an update of ours."""
    average = copy.deepcopy(network)

    def update() -> Sequence[Tensor]:
        update_ema(average, network, DECAY)
        return ()

    return update


def torchs(network: nn.Module) -> Call:
    """Return an update of torch's own."""
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    average.update_parameters(network)  # its first is a copy

    def update() -> Sequence[Tensor]:
        average.update_parameters(network)
        return ()

    return update


def diffused(library: ModuleType, network: nn.Module, foreach: bool) -> Call:
    """Return an update of diffusers', one tensor after another, as is its default, or all in one call."""
    average = library.training_utils.EMAModel(network.parameters(), decay=DECAY, foreach=foreach)

    def update() -> Sequence[Tensor]:
        average.step(network.parameters())
        return ()

    return update


CASE = Case("a moving average of all weights, against others' and the memory's ceiling", comparisons)
