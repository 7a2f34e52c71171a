"""Sampling by DDIM, plain and guided, against the network's calls in it and against diffusers' own loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor

from benchmarks.comparison import Absent, Call, Case, Comparison, Variant
from benchmarks.peers import diffusers, release
from benchmarks.work import awaken, our_costs, our_network, prediction, step_operations
from triptych.backbones.backbone import BackboneConfig
from triptych.backbones.unet import UNetConfig
from triptych.commands.bench import BenchOptions
from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.generation import Request, generate
from triptych.guidance import CFG, PLAIN, Guide
from triptych.sampling import named_sampler

BASE = "network alone"
STEPS = 4
SCALE = 3.0
LATE = CFG(below=1.0)
"""Guided only where there is no more noise than signal: in the last of the four steps."""
ROUNDS = 9


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return the one comparison: so few steps cost what so many of any number do."""
    config = UNetConfig(width=32, attention=(4,)) if options.quick else UNetConfig()
    config = replace(config, dropout=0.0)
    size, batch = (8, 2) if options.quick else (32, 16)
    batch = options.batch or batch

    def ours(guidance: float, guide: Guide = PLAIN) -> Callable[[], Call]:
        return lambda: drawing(config, size, batch, guidance, guide)

    library = diffusers()
    theirs = library if isinstance(library, Absent) else lambda: their_drawing(library, config, size, batch)
    variants = {
        BASE: Variant(
            lambda: calls_alone(config, size, batch),
            facts=lambda: our_costs(config, size),
            operations=lambda: all_steps(config, size, batch),
        ),
        "plain": Variant(ours(1.0)),
        "diffusers' scheduler": Variant(
            theirs, note=f"DDIMScheduler of {release('diffusers')} around our network"
        ),
        "guided": Variant(ours(SCALE), note="both branches in one call"),
        "guided in one step of four": Variant(ours(SCALE, LATE)),
    }
    title = f"{batch} images by ddim:{STEPS}, unet, {size}x{size} pixels"
    return [Comparison(title, 0, batch, BASE, variants, ROUNDS)]


def calls_alone(config: UNetConfig, size: int, batch: int) -> Call:
    """Return as many calls of the network as there are steps."""
    predict = prediction(our_network(config, size), batch, size)

    def calls() -> Sequence[Tensor]:
        for _ in range(STEPS):
            predict()
        return ()

    return calls


def all_steps(config: UNetConfig, size: int, batch: int) -> dict[str, float]:
    """Return the operations of these calls."""
    each = step_operations(our_network(config, size), batch, size, training=False)
    return {kind: STEPS * amount for kind, amount in each.items()}


def drawing(
    config: BackboneConfig,
    size: int,
    batch: int,
    guidance: float,
    guide: Guide = PLAIN,
    steps: int = STEPS,
    count: int = 0,
) -> Call:
    """Return the drawing of images as the program does it, from their noise to their pixels.

    Args:
        config: of the network.
        size: height and width of the images, in pixels.
        batch: images drawn at a time.
        guidance: the scale.
        guide: how they are guided.
        steps: of DDIM.
        count: images in all; 0: one batch.
    """
    network = our_network(config, size)
    awaken(network)
    denoiser = Denoiser(network, SCHEDULES["linear"](), PREDICTIONS["eps"])
    sampler = named_sampler(f"ddim:{steps}")
    request = Request(count or batch, guidance, sampler, batch_size=batch, guide=guide)

    @torch.inference_mode()
    def draw() -> Sequence[Tensor]:
        return [each.pixels for each in generate(denoiser, request)][:0]

    return draw


def their_drawing(library: ModuleType, config: UNetConfig, size: int, batch: int) -> Call:
    """Return the loop that their pipelines have, around our network."""
    network = our_network(config, size)
    awaken(network)
    network.eval()
    scheduler = library.DDIMScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(STEPS)
    labels = torch.arange(batch) % network.classes

    @torch.inference_mode()
    def draw() -> Sequence[Tensor]:
        x = torch.randn(batch, network.channels, size, size, generator=torch.Generator().manual_seed(0))
        for t in scheduler.timesteps:
            output = network(x, t.expand(batch).float(), labels)
            x = scheduler.step(output, t, x).prev_sample
        return [(x / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)][:0]

    return draw


CASE = Case("sampling against the network's calls in it, and what guidance costs", comparisons)
