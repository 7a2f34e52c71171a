"""Guided images drawn and measured on the device: in turn, and the next while one is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.cases.device_training import QUICK_SIZE, SIZE, networks
from benchmarks.cases.inception_features import random_weights
from benchmarks.comparison import CPU, Absent, Call, Case, Comparison, Made, Noted, Variant
from benchmarks.on_device import chosen, model, out_of_reach, tried, tried_recorded
from benchmarks.work import our_costs
from triptych.backbones.backbone import BackboneConfig
from triptych.cache import weights_digest
from triptych.commands.bench import BenchOptions
from triptych.denoiser import Denoiser
from triptych.distributed import ALONE
from triptych.evaluation.drawing import SEPARATOR, draw_features
from triptych.generation import Request
from triptych.metrics.extractors.inception import NAME, Inception
from triptych.metrics.extractors.inception_layers import CLASSES, FEATURES, InceptionV3
from triptych.metrics.feature_store import FeatureStore
from triptych.precision import best_precision
from triptych.sampling import named_sampler

BASE, OVERLAPPED = "in turn", "overlapped"
BACKBONE = "unet"
IMAGES, QUICK_IMAGES = 10_000, 4
BATCH, QUICK_BATCH = 500, 2
STEPS, QUICK_STEPS = 50, 2
SCALE = 3.0
ROUNDS = 2
"""Each takes a minute or so: --rounds 6 tells an interval as well."""
WIDTHS = {f"{NAME}{SEPARATOR}features": FEATURES, f"{NAME}{SEPARATOR}log_probs": CLASSES}


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return the one comparison of this case."""
    device, quick = chosen(options), options.quick
    config = networks(quick)[BACKBONE]
    size, steps = (QUICK_SIZE, QUICK_STEPS) if quick else (SIZE, STEPS)
    count, batch = (QUICK_IMAGES, QUICK_BATCH) if quick else (IMAGES, BATCH)
    request = Request(count, SCALE, named_sampler(f"ddim:{steps}"), batch_size=options.batch or batch)

    def variant(ahead: int) -> Variant:
        make: Callable[[], Made] | Absent = partial(evaluation, config, size, request, device, ahead)
        return Variant(out_of_reach(options) or make, facts=lambda: our_costs(config, size))

    return [
        Comparison(
            f"{BACKBONE}, {size}x{size} pixels, {count:,} images by ddim:{steps}, guided, and their features",
            0,
            request.batch_size,
            BASE,
            {BASE: variant(0), OVERLAPPED: variant(1)},
            ROUNDS,
            warm_up=0,  # a batch is tried before
            dtype=best_precision(device),
            device=device,
            images=count,
            weighed=False,  # a call more, for what the two batches of `overlapped` take
        )
    ]


def evaluation(config: BackboneConfig, size: int, request: Request, device: torch.device, ahead: int) -> Made:
    """Return the drawing of images and their features by Inception, kept on the disk, as the program does it.

    Args:
        config: of the network.
        size: height and width of the images, in pixels.
        request: which images, and how.
        device: that computes; a GPU replays the network, as it does for an opened model.
        ahead: batches that are begun before one is kept.
    """
    denoiser = model(config, size, device)
    whole = measuring(denoiser, request, device, ahead)
    one = measuring(denoiser, replace(request, count=request.batch_size), device, ahead)
    if device == CPU:
        made = tried(one, device)
        return made if isinstance(made, Absent) else whole
    denoiser.replay()
    made = tried_recorded(denoiser, one, device)
    return made if isinstance(made, Absent) else Noted(whole, made.note)


def measuring(denoiser: Denoiser, request: Request, device: torch.device, ahead: int) -> Call:
    """Return the drawing of the images of a request, and their features, in a folder of their own."""
    extractor = random_inception(device)

    def draw() -> Sequence[Tensor]:
        with TemporaryDirectory(prefix="device-evaluation-") as place:
            sizes = request.count, request.batch_size
            store = FeatureStore(Path(place) / "features", WIDTHS, *sizes, "of a benchmark")
            draw_features(denoiser, request, {NAME: extractor}, store, ALONE, ahead=ahead)
        return ()

    return draw


@cache
def random_inception(device: torch.device) -> Inception:
    """Return the network of the FID with random weights, which take as long as the published ones."""
    network, weights = InceptionV3(), random_weights()
    network.load_state_dict(weights)
    return Inception(network, weights_digest(weights)).to(device)


CASE = Case("images drawn and measured on the device, in turn and overlapped", comparisons, on_device=True)
