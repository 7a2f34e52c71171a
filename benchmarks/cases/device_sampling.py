"""Guided images drawn on the device: the network called kernel by kernel, and recorded as one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.cases.device_training import QUICK_SIZE, SIZE, networks
from benchmarks.comparison import CPU, Absent, Case, Comparison, Made, Noted, Variant
from benchmarks.on_device import (
    NO_GRAPHS,
    all_operations,
    chosen,
    computing,
    model,
    out_of_reach,
    tried,
    tried_recorded,
)
from benchmarks.work import images, our_costs
from triptych.backbones.backbone import BackboneConfig
from triptych.commands.bench import BenchOptions
from triptych.cuda_graphs import Record
from triptych.generation import Request, generate
from triptych.precision import best_precision
from triptych.sampling import named_sampler

BASE = "network alone"
IMAGES, QUICK_IMAGES = 80, 2
STEPS, QUICK_STEPS = 50, 2
SCALE = 3.0
BRANCHES = 2
"""Predictions of each image at each step: with its class and without, in one call."""
ROUNDS = 9


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return a comparison for each backbone."""
    return [of_network(name, config, options) for name, config in networks(options.quick).items()]


def of_network(name: str, config: BackboneConfig, options: BenchOptions) -> Comparison:
    """Return the comparison of a backbone."""
    device, quick = chosen(options), options.quick
    size, steps, count = (QUICK_SIZE, QUICK_STEPS, QUICK_IMAGES) if quick else (SIZE, STEPS, IMAGES)
    count = options.batch or count
    request = Request(count, SCALE, named_sampler(f"ddim:{steps}"), batch_size=count)

    def variant(make: Callable[[], Made] | Absent, note: str = "") -> Variant:
        return Variant(
            out_of_reach(options) or make,
            note=note,
            facts=lambda: our_costs(config, size),
            operations=lambda: all_operations(config, BRANCHES * steps * count, size, training=False),
        )

    drawn = partial(drawing, config, size, request, device)
    graph = "what the graph holds was there before the call, and is not among its extra MiB"
    variants = {
        BASE: variant(partial(calls_alone, config, size, count, steps, device)),
        "plain": variant(drawn),
        "recorded": variant(NO_GRAPHS if device == CPU else partial(drawn, replay=True), graph),
    }
    return Comparison(
        f"{name}, {size}x{size} pixels, {count} images by ddim:{steps}, guided",
        0,
        count,
        BASE,
        variants,
        ROUNDS,
        dtype=best_precision(device),
        device=device,
        images=count,
        weighed=device != CPU,  # where it is tried in tiny, and nothing but that
    )


def calls_alone(config: BackboneConfig, size: int, count: int, steps: int, device: torch.device) -> Made:
    """Return as many calls of the network as there are steps, both branches in each."""
    denoiser = model(config, size, device)
    x, _, labels = images(BRANCHES * count, size)
    x, labels = x.to(device), labels.to(device)
    t = torch.full((len(x),), 0.5, dtype=torch.float64)  # on the host, where samplers have it

    @torch.inference_mode()
    def call() -> Sequence[Tensor]:
        for _ in range(steps):
            denoiser.output(x, t, labels)
        return ()

    return tried(call, device, computing(denoiser, device))


def drawing(
    config: BackboneConfig,
    size: int,
    request: Request,
    device: torch.device,
    replay: bool = False,
    record: Record | None = None,
) -> Made:
    """Return the drawing of images, from their noise to their pixels.

    Args:
        config: of the network.
        size: height and width of the images, in pixels.
        request: which images, and how.
        device: that computes.
        replay: whether the network is to be recorded; absent where it cannot be.
        record: how; None: on the GPU.
    """
    denoiser = model(config, size, device)

    @torch.inference_mode()
    def draw() -> Sequence[Tensor]:
        return [each.pixels for each in generate(denoiser, request)][:0]

    if not replay:
        return tried(draw, device, computing(denoiser, device))
    denoiser.replay(record)
    made = tried_recorded(denoiser, draw, device)
    # Kernel by kernel it would be the plain one under another name.
    return Absent(made.note) if isinstance(made, Noted) and not denoiser.recorded else made


CASE = Case("guided images drawn on the device, plainly and as a CUDA graph", comparisons, on_device=True)
