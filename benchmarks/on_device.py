"""What the cases of the device share: which it is, a model on it, and what cannot be measured there."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from benchmarks.comparison import CPU, PRODUCT, Absent, Call, Made, Noted, Operations
from benchmarks.work import awaken, our_network, step_operations
from triptych.backbones.backbone import BackboneConfig
from triptych.commands.bench import BenchOptions
from triptych.denoiser import Denoiser
from triptych.devices import select_device, synchronize
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.precision import DTYPES, best_precision

HOURS = Absent("a processor would take hours: it is measured on a GPU, and in tiny with --quick")
RECORDED = "the network is replayed as a CUDA graph"
NO_GRAPHS = Absent("a processor records no CUDA graph")


def chosen(options: BenchOptions) -> torch.device:
    """Return the device that the options choose: the GPU where there is one, unless they say otherwise.

    Raises:
        UserError: they name a GPU, and there is none.
    """
    if options.device == "auto":
        return torch.device("cuda") if torch.cuda.is_available() else CPU
    return select_device(options.device)


def out_of_reach(options: BenchOptions) -> Absent | None:
    """Return why nothing of full size is measured with these options, or None where it is."""
    return HOURS if chosen(options) == CPU and not options.quick else None


def model(config: BackboneConfig, size: int, device: torch.device) -> Denoiser:
    """Return a model of images of this size, in the precision that suits its device best."""
    network = our_network(config, size)
    awaken(network)
    precision = best_precision(device)
    return Denoiser(network.to(device), SCHEDULES["linear"](), PREDICTIONS["eps"], precision).eval()


def all_operations(config: BackboneConfig, images: int, size: int, *, training: bool) -> Operations:
    """Return the operations of a call, convolutions too, as such of matrix products: a GPU's one ceiling.

    Args:
        config: of the network.
        images: of the call; at every step anew, where it has several.
        size: height and width of the images, in pixels.
        training: whether there is a backward pass.
    """
    # Configurations are frozen, which their protocol cannot say.
    each = _of_an_image(config, size, training)  # ty: ignore[invalid-argument-type]
    return {PRODUCT: images * each}


@cache
def _of_an_image(config: BackboneConfig, size: int, training: bool) -> float:
    return sum(step_operations(our_network(config, size), 1, size, training=training).values())


def computing(denoiser: Denoiser, device: torch.device) -> str:
    """Return what computes the parts of a model that several implementations can; nothing of most models."""
    return "; ".join(denoiser.backbone.implementations(device, DTYPES[denoiser.precision]))


def tried(call: Call, device: torch.device, note: str = "") -> Made:
    """Return a call with what has to be known of it, after it was called once, or why it cannot be.

    Others of its comparison are measured nevertheless: a GPU may have room for some of them only.
    """
    clear(device, compiled=False)
    try:
        call()
        synchronize(device)
    except Exception as error:  # no memory for it, a kernel that the device does not have
        return Absent(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
    return Noted(call, note) if note else call


def tried_recorded(denoiser: Denoiser, call: Call, device: torch.device) -> Noted | Absent:
    """Return a call that draws with a model that is to be replayed, and whether it is; or why it cannot be.

    Where no graph was recorded, the note is the reason: the network is called kernel by kernel then.
    """
    refused = ""

    def first() -> Sequence[Tensor]:
        nonlocal refused
        refused = why_not_recorded(denoiser, call)
        return ()

    made = tried(first, device)
    notes = [refused or RECORDED, computing(denoiser, device)]
    return made if isinstance(made, Absent) else Noted(call, "; ".join(filter(None, notes)))


def why_not_recorded(denoiser: Denoiser, call: Call) -> str:
    """Call what draws with a model that is to be replayed; return why none of it was recorded, or nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    if denoiser.recorded:
        return ""
    said = [str(one.message) for one in caught if "CUDA graph" in str(one.message)]
    return said[0] if said else "no CUDA graph was recorded: the network was not called without gradients"


def clear(device: torch.device, *, compiled: bool = True) -> None:
    """Give a GPU's memory back that nothing holds any more.

    Args:
        device: a processor is left alone.
        compiled: whether to forget compiled code too, which holds some; what is still to be called would be
            compiled anew.
    """
    if device.type != "cuda":
        return
    if compiled and "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()
