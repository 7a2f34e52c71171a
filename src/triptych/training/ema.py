"""Exponential moving averages of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def ema_decay(images_seen: int, batch_size: int, half_life: float, warmup: float) -> float:
    """Return by how much the average is kept in a step that takes the images seen to `images_seen`.

    The half-life is counted in images, so that the batch size does not change the average, and is at
    most the share `warmup` of the images seen, so that the random start is soon forgotten.
    """
    effective = min(half_life, warmup * images_seen)
    return 0.5 ** (batch_size / effective) if effective > 0 else 0.0


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float, masked: Tensor | None = None) -> None:
    """Move `average` towards `network`: average = decay * average + (1 - decay) * network.

    Args:
        average: a network of averaged weights.
        network: the one in training.
        decay: in [0, 1].
        masked: bool []; where it is true the average stays. The network's weights are finite then, as
            the step that would have spoilt them was left out.
    """
    kept: list[Tensor] = list(average.parameters())
    new: list[Tensor] = list(network.parameters())
    if masked is not None and masked.device.type != "cpu":
        move(kept, new, (1.0 - decay) * ~masked)
    elif masked is None or not masked:  # asking costs nothing here, copies would
        torch._foreach_lerp_(kept, new, 1.0 - decay)


def move(kept: list[Tensor], new: list[Tensor], share: Tensor) -> None:
    """Move tensors by a `share` [] of what parts them from the `new` ones, which no host has to know.

    In three operations on all of them, where one on each would keep the host busy.
    """
    apart = torch._foreach_sub(new, kept)
    torch._foreach_mul_(apart, share)
    torch._foreach_add_(kept, apart)
