"""How a training step and a sampling grow: with batch, pixels, processes; with steps and number of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from benchmarks.cases.loop_step import stepper
from benchmarks.cases.sampling_step import drawing
from benchmarks.comparison import Call, Case, Comparison, Variant
from benchmarks.rank_steps import RankSteps
from benchmarks.work import our_step
from triptych.backbones.backbone import BackboneConfig
from triptych.backbones.dim import DiMConfig
from triptych.backbones.dit import DiTConfig
from triptych.backbones.unet import UNetConfig
from triptych.commands.bench import BenchOptions

BASE = "unet"
ROUNDS = 6
SIDE = 32
SIDES = (16, 32, 64)
"""Pixels of a side."""
FEW = 4
"""Images at a time, where it is not their number that grows."""
COUNTS = (4, 8, 16, 32)
"""Images of a batch, steps, and images in all."""
RANKS = (1, 2, 4)
"""Processes."""
SHARED = 16
"""Images that they share."""


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return the comparisons of five series."""
    quick = options.quick
    side, sides = (8, (4, 8, 16)) if quick else (SIDE, SIDES)
    counts = (1, 2, 4) if quick else COUNTS
    few = options.batch or FEW
    networks = quick_networks() if quick else full_networks()
    found = []
    for batch in counts:
        steps = {name: partial(our_step, config, batch, side) for name, config in networks.items()}
        found.append(one("training step by batch", "images", batch, batch, steps))
    for each in sides:
        steps = {name: partial(our_step, config, few, each) for name, config in networks.items()}
        found.append(one("training step by pixels", "pixels", each**2, few, steps))
    for steps_ in counts:
        draw = partial(drawing, networks[BASE], side, few, 1.0, steps=steps_)
        found.append(one("sampling by steps", "steps", steps_, few, {BASE: draw}))
    for count in counts:
        draw = partial(drawing, networks[BASE], side, few, 1.0, count=count)
        found.append(one("sampling by images", "images", count, few, {BASE: draw}))
    shared, ranks = (2, (1, 2)) if quick else (options.batch or SHARED, RANKS)
    many = {BASE: networks[BASE]} if quick else networks
    for count in ranks:
        steps = {name: partial(of_ranks, count, config, shared, side) for name, config in many.items()}
        series = "training step of a shared batch by processes on one core"
        found.append(replace(one(series, "processes", count, shared, steps), weighed=False))
    return found


def one(series: str, axis: str, size: int, batch: int, calls: Mapping[str, Callable[[], Call]]) -> Comparison:
    """Return the comparison of a series at one size."""
    variants = {name: Variant(call) for name, call in calls.items()}
    title = f"{series}, {size:,} {axis}"
    return Comparison(title, 0, batch, BASE, variants, ROUNDS, series=series, axis=axis, size=size)


def of_ranks(count: int, config: BackboneConfig, batch: int, side: int) -> Call:
    """Return the program's step of so many ranks, which share a batch."""
    return RankSteps(count, partial(stepper, config, batch, side))


def full_networks() -> dict[str, BackboneConfig]:
    """Return each backbone at half to a quarter of its usual width, so that the largest sizes fit."""
    return {
        BASE: UNetConfig(width=64, dropout=0.0),
        "dit": DiTConfig(width=192, depth=6, heads=3),
        "dim": DiMConfig(width=192, depth=6),
    }


def quick_networks() -> dict[str, BackboneConfig]:
    """Return the same in tiny."""
    return {
        BASE: UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(), groups=4, dropout=0.0),
        "dit": DiTConfig(width=32, depth=1, heads=2),
        "dim": DiMConfig(width=32, depth=2, head_width=16, state=8),
    }


CASE = Case("how time and memory grow with batch, pixels, processes, steps and images", comparisons)
