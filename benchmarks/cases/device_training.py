"""Images per second of training on the device: layouts in memory, plain and compiled, by batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.cases import cost_growth, loop_step
from benchmarks.comparison import CPU, Absent, Case, Comparison, Made, Variant
from benchmarks.on_device import all_operations, chosen, computing, out_of_reach, tried
from benchmarks.work import our_costs
from triptych.backbones.backbone import BackboneConfig
from triptych.commands.bench import BenchOptions
from triptych.precision import best_precision
from triptych.training.arrangement import LAYOUTS
from triptych.training.compiling import compile_network, is_compiled

BASE = "eager nchw"
SIZE, QUICK_SIZE = 32, 8
BATCHES, QUICK_BATCHES = (128, 512), (2,)
STEPS, QUICK_STEPS = 4, 1
"""Of a call: a run asks for the next step while the GPU is at one, and waits for none of them."""
ROUNDS = 9
NO_COMPILER = Absent(
    "--quick leaves the compiler out on a processor, where it takes longer than all the rest"
)


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return a comparison for each backbone and batch."""
    batches = QUICK_BATCHES if options.quick else BATCHES
    return [
        of_network(name, config, batch, options)
        for name, config in networks(options.quick).items()
        for batch in ((options.batch,) if options.batch else batches)
    ]


def networks(quick: bool) -> dict[str, BackboneConfig]:
    """Return each backbone by its defaults, without dropout, or in tiny."""
    return cost_growth.quick_networks() if quick else loop_step.full_networks()


def of_network(name: str, config: BackboneConfig, batch: int, options: BenchOptions) -> Comparison:
    """Return the comparison of a backbone at one batch."""
    device, quick = chosen(options), options.quick
    size, steps = (QUICK_SIZE, QUICK_STEPS) if quick else (SIZE, STEPS)

    def variant(layout: str, compiled: bool) -> Variant:
        absent = out_of_reach(options) or (NO_COMPILER if compiled and device == CPU else None)
        return Variant(
            absent or partial(training, config, batch, size, steps, device, layout, compiled),
            facts=lambda: our_costs(config, size),
            operations=lambda: all_operations(config, steps * batch, size, training=True),
        )

    variants = {
        f"{'compiled' if compiled else 'eager'} {layout}": variant(layout, compiled)
        for compiled in (False, True)
        for layout in LAYOUTS
    }
    return Comparison(
        f"{name}, {size}x{size} pixels, steps of training: {steps}",
        0,
        batch,
        BASE,
        variants,
        ROUNDS,
        dtype=best_precision(device),
        device=device,
        images=steps * batch,
        weighed=device != CPU,  # where it is tried in tiny, and nothing but that
    )


def training(
    config: BackboneConfig,
    batch: int,
    size: int,
    steps: int,
    device: torch.device,
    layout: str,
    compiled: bool,
) -> Made:
    """Return some steps as the program takes them; absent where they were to be compiled, and could not be.

    Args:
        config: of the network.
        batch: images of a step.
        size: height and width of the images, in pixels.
        steps: of a call.
        device: that computes.
        layout: how the network lies in memory.
        compiled: whether torch compiles it.
    """
    takes, denoiser = loop_step.program(config, batch, size, device=device, layout=layout)
    notes = [computing(denoiser, device)]
    if compiled:
        start = time.perf_counter()
        told = compile_network(denoiser, batch)
        if not is_compiled(denoiser):
            return Absent(told)
        notes.append(f"{told}, which took {time.perf_counter() - start:.0f} s")

    def call() -> Sequence[Tensor]:
        for _ in range(steps):
            takes.take()
        return ()

    return tried(call, device, "; ".join(filter(None, notes)))


CASE = Case("images per second of training on the device", comparisons, on_device=True)
