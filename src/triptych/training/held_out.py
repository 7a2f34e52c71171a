"""The held-out error: the same images, noise and levels for every checkpoint of every run."""

from __future__ import annotations

from typing import NamedTuple

import torch

from triptych.data.dataset import ImageSet
from triptych.denoiser import Denoiser
from triptych.diffusion.noise_level import add_noise
from triptych.distributed import ALONE, Ranks
from triptych.images import to_network
from triptych.precision import at_least_float32
from triptych.random import Stream, normal, permutation

SEED = 0
"""Not the run's: errors of runs with different seeds are measured on the same triples."""

BANDS = 8
"""Equal parts of time, from clean to noisy, in which the error is reported as well."""


class HeldOutError(NamedTuple):
    """Mean squared error of the network's own quantity (noise, x_0 or v)."""

    mse: float
    by_time: tuple[float, ...]
    """The same in each of `BANDS` equal parts of time, from clean to noisy."""


@torch.no_grad()
def held_out_error(
    denoiser: Denoiser,
    images: ImageSet,
    count: int,
    batch_size: int,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> HeldOutError:
    """Measure the error on `count` fixed (image, noise, level) triples, shared out between the ranks.

    Triple j has image j mod N, noise keyed by j, and a time from `count` evenly spread ones in a fixed
    random order, so that every level is measured and the error has no sampling noise over levels.
    """
    denoiser.eval()
    shape = images.images.shape[1:]
    order = permutation(SEED, Stream.HELD_OUT, 1, count)
    times = denoiser.schedule.training_time((order + 0.5) / count)
    errors = torch.zeros(count, dtype=torch.float64)
    share = ranks.share(count)
    for start in range(share.start, share.stop, batch_size):
        j = torch.arange(start, min(start + batch_size, share.stop))
        t, place = times[j], j % len(images)
        x0 = to_network(images.images[place].to(device))
        eps = normal(SEED, Stream.HELD_OUT, 0, j.to(device), shape)
        labels = images.labels[place].to(device) if denoiser.backbone.classes else None
        level = denoiser.schedule.level(t)
        output = denoiser.output(add_noise(x0, eps, level), t, labels)
        target = denoiser.prediction.target(x0, eps, level)
        error = (at_least_float32(output) - target).square().flatten(1).mean(1)
        errors[j] = error.cpu().double()  # not every device has float64
    ranks.sum(errors)  # each knows its own, and zeros for the others
    bands = min(BANDS, count)
    band = order * bands // count
    by_time = tuple(float(errors[band == b].mean()) for b in range(bands))
    return HeldOutError(float(errors.mean()), by_time)
