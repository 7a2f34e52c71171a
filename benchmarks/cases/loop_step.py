"""A step of training as the program takes it, against the forward pass, backward pass and optimiser in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.comparison import CPU, Call, Case, Comparison, Variant
from benchmarks.work import CHANNELS, CLASSES, awaken, images, our_costs
from triptych.backbones.backbone import BackboneConfig
from triptych.backbones.dim import DiMConfig
from triptych.backbones.dit import DiTConfig
from triptych.backbones.unet import UNetConfig
from triptych.commands.bench import BenchOptions
from triptych.data.batches import Batches
from triptych.data.dataset import ImageSet
from triptych.denoiser import Denoiser
from triptych.diffusion.objectives import PredictionMSE
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.distributed import ALONE, Ranks
from triptych.precision import best_precision
from triptych.training.arrangement import lay_out
from triptych.training.clock import Clock
from triptych.training.config import TrainingConfig
from triptych.training.loss import StepLoss
from triptych.training.state import TrainState
from triptych.training.step import Stepper

BASE = "bare"
BATCH, SIZE, QUICK_SIZE = 16, 32, 8
IMAGES = 512
STEPS = 10_000
"""Of the whole run, which no benchmark reaches."""


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return a comparison for each backbone."""
    networks = quick_networks() if options.quick else full_networks()
    size, batch = (QUICK_SIZE, 2) if options.quick else (SIZE, options.batch or BATCH)
    return [
        Comparison(
            f"{name}, {size}x{size} pixels",
            0,
            batch,
            BASE,
            {
                BASE: Variant(
                    lambda config=config: bare(config, batch, size),
                    facts=lambda config=config: our_costs(config, size),
                ),
                "loop": Variant(lambda config=config: stepper(config, batch, size)),
            },
        )
        for name, config in networks.items()
    ]


def full_networks() -> dict[str, BackboneConfig]:
    """Return each backbone by its defaults, and without dropout, whose masks are no part of the loop."""
    return {"unet": UNetConfig(dropout=0.0), "dit": DiTConfig(), "dim": DiMConfig()}


def quick_networks() -> dict[str, BackboneConfig]:
    """Return one in tiny."""
    return {"dit": DiTConfig(width=32, depth=1, heads=2)}


def bare(config: BackboneConfig, batch: int, size: int) -> Call:
    """Return forward pass, backward pass and optimiser alone, on inputs that are there already."""
    torch.manual_seed(0)
    network = config.build(CHANNELS, size, CLASSES)
    awaken(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    x, noise, labels = images(batch, size)
    target = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))

    def step() -> Sequence[Tensor]:
        optimizer.zero_grad(set_to_none=True)
        F.mse_loss(network(x, noise, labels), target).backward()
        optimizer.step()
        return ()

    return step


def stepper(config: BackboneConfig, batch: int, size: int, ranks: Ranks = ALONE) -> Call:
    """Return a step with all that a run adds: batches, noise, clipping, the guard, two averages."""
    takes, _ = program(config, batch, size, ranks)

    def step() -> Sequence[Tensor]:
        takes.take()
        return ()

    return step


def program(
    config: BackboneConfig,
    batch: int,
    size: int,
    ranks: Ranks = ALONE,
    device: torch.device = CPU,
    layout: str = "nchw",
) -> tuple[Stepper, Denoiser]:
    """Return what takes the steps of a run on random images, and the model that it trains.

    Args:
        config: of the network.
        batch: images of a step, over all ranks.
        size: height and width of the images, in pixels.
        ranks: who computes which.
        device: that computes, in the precision that suits it best.
        layout: how the network lies in memory, by its name in `LAYOUTS`.
    """
    torch.manual_seed(0)
    network = config.build(CHANNELS, size, CLASSES)
    awaken(network)
    lay_out(network.to(device), layout)
    precision = best_precision(device)
    training = TrainingConfig(batch_size=batch, max_steps=STEPS, epochs=STEPS * batch, learning_rate=1e-4)
    pixels = torch.randint(0, 256, (IMAGES, CHANNELS, size, size), dtype=torch.uint8)
    labels = torch.arange(IMAGES) % CLASSES
    names = tuple(map(str, range(CLASSES)))
    data = ImageSet("random/train", pixels.to(device), labels.to(device), names)
    denoiser = Denoiser(network, SCHEDULES["cosine"](), PREDICTIONS["v"], precision)
    loss = StepLoss(denoiser, PredictionMSE(), 0, training.label_drop)
    batches = Batches(data, batch, seed=0, flip=True)
    state = TrainState.fresh(network, training, precision)
    return Stepper(state, Clock(training, IMAGES), batches, loss, ranks), denoiser


CASE = Case("training step of the program against forward, backward and optimiser alone", comparisons)
