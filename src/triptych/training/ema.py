"""The exponential moving average of the weights."""

from __future__ import annotations

import torch
from torch import nn


def ema_decay(images_seen: int, batch_size: int, half_life: float, warmup: float) -> float:
    """Return by how much the average is kept in a step that takes the images seen to `images_seen`.

    The half-life is counted in images, so that the batch size does not change the average, and is at
    most the share `warmup` of the images seen, so that the random start is soon forgotten.
    """
    effective = min(half_life, warmup * images_seen)
    return 0.5 ** (batch_size / effective) if effective > 0 else 0.0


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move `average` towards `network`: average = decay * average + (1 - decay) * network."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1.0 - decay)
