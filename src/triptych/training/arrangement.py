"""How a network lies in memory, and whether it is compiled: measured at a run's first start, then kept.

Convolutions take images channel by channel (nchw) or pixel by pixel (nhwc); which is faster depends on the
processor, and so does whether compiled code gains anything. Both round differently, so that a run keeps its
own. Two runs of one seed are the same to the last bit only where they are arranged alike: short ones always
are, as nothing is measured for them.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from triptych.denoiser import Denoiser
from triptych.training.compiling import compile_network, forward_and_back, is_compiled

LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
"""Every layout by the name that recipes use."""
ROUNDS = 7
"""In each, every candidate has a turn. One that wins them all by chance is one in 128."""
LEAST_GAIN = 0.03
"""Of a step's time; less is not worth other roundings."""
LONG = 10_000
"""Steps of a run for which something is measured: layouts by 16 trials, each no longer than a step."""
COMPILING = 300.0
"""Seconds that compilation is taken to need; it is tried where that is at most `TRIAL_SHARE` of the run."""
TRIAL_SHARE = 0.01
MOST_IMAGES = 16
"""Of a trial on a processor, where the time of an image hardly depends on how many there are."""


class Arrangement(NamedTuple):
    """What was chosen, and what to tell of it."""

    layout: str
    compiled: bool
    said: tuple[str, ...]


def arranged(
    denoiser: Denoiser, images: int, steps: int, *, layout: str, compiled: bool | str
) -> Arrangement:
    """Return the arrangement for a run of so many steps, the fastest of what is left open.

    Layouts are compared as they are without a compiler: where one is asked for, nchw is taken.

    Args:
        denoiser: the model, which is left as it is: what is tried are copies.
        images: that this process computes at once in a step.
        steps: of the run.
        layout: nchw or nhwc; or auto, for the faster.
        compiled: whether it is to be compiled; or auto, where that is faster.
    """
    plainly = "nchw" if layout == "auto" else layout
    if steps < LONG or compiled is True or "auto" not in (layout, compiled):
        return Arrangement(plainly, compiled is True, ())
    try:
        return _measured(denoiser, images, steps, layout, compiled == "auto")
    except torch.OutOfMemoryError:  # of copies that training needs not
        return Arrangement(plainly, False, ("no memory to measure layouts: nothing is chosen",))
    finally:
        if (device := next(denoiser.parameters()).device).type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)


def _measured(denoiser: Denoiser, images: int, steps: int, layout: str, compiling: bool) -> Arrangement:
    """Return what is found by trials."""
    asked = images
    if next(denoiser.parameters()).device.type == "cpu":
        images = min(images, MOST_IMAGES)
    said = []
    plain = {name: _trial(denoiser, name, images) for name in (LAYOUTS if layout == "auto" else [layout])}
    seconds = _seconds(plain)
    first = next(iter(plain))
    best = max(plain, key=lambda name: _gain(seconds[name], seconds[first]))
    for name in list(plain)[1:]:
        said.append(_told(f"layout {name}", seconds[name], f"layout {first}", seconds[first]))
    run = statistics.median(seconds[best]) * asked / images * steps
    compiled = False
    if compiling and run * TRIAL_SHARE > COMPILING:
        # For the batch of the run, whose code is what is wanted then.
        compiled, told = _compiled_gains(_copied(denoiser, best), _trial(denoiser, best, asked), asked)
        said.append(told)
    return Arrangement(best, compiled, tuple(said))


def lay_out(network: nn.Module, layout: str) -> None:
    """Have all kernels of convolutions lie so, in place: images that they are applied to then do, too."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=LAYOUTS[layout])


def as_laid(value: Tensor, parameter: Tensor) -> Tensor:
    """Return an entry of the optimiser on the parameter's device, and as that lies.

    A fused optimiser goes through both in the order of their memory.
    """
    value = value.to(parameter.device)
    if value.shape != parameter.shape or value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _compiled_gains(tried: Denoiser, plain: Callable[[], None], images: int) -> tuple[bool, str]:
    """Return whether a network is faster once it is compiled than `plain` is, and what to tell of it."""
    told = compile_network(tried, images)
    if not is_compiled(tried):
        return False, told
    seconds = _seconds({"plain": plain, "compiled": lambda: forward_and_back(tried, images)})
    gains = _gain(seconds["compiled"], seconds["plain"]) > 0
    return gains, _told("compiled code", seconds["compiled"], "plain", seconds["plain"])


def _trial(denoiser: Denoiser, layout: str, images: int) -> Callable[[], None]:
    tried = _copied(denoiser, layout)
    return lambda: forward_and_back(tried, images)


def _copied(denoiser: Denoiser, layout: str) -> Denoiser:
    network = copy.deepcopy(denoiser.backbone)
    lay_out(network, layout)
    return Denoiser(network, denoiser.schedule, denoiser.prediction, denoiser.precision)


def _seconds(calls: Mapping[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Return the seconds of each call by round, after one that is dropped: they take turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(ROUNDS + 1):
        for name in calls if round_ % 2 else reversed(list(calls)):
            start = time.perf_counter()
            calls[name]()
            if round_:
                found[name].append(time.perf_counter() - start)
    return found


def _gain(seconds: list[float], base: list[float]) -> float:
    """Return the share of time that is saved, the median over the rounds; 0 where that is not sure."""
    ratios = [one / other for one, other in zip(seconds, base, strict=True)]
    gain = 1 - statistics.median(ratios)
    return gain if max(ratios) < 1 and gain >= LEAST_GAIN else 0.0


def _told(name: str, seconds: list[float], than: str, base: list[float]) -> str:
    ratio = statistics.median(one / other for one, other in zip(seconds, base, strict=True))
    verdict = "used" if _gain(seconds, base) else "not used"
    return f"{name} takes {ratio:.2f} times as long as {than}: {verdict}"
