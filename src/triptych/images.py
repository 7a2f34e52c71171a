"""The one place where stored pixels and network inputs are converted into one another."""

import torch
from torch import Tensor


def to_network(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels 0..255, any shape, into float32 in [-1, 1]."""
    return pixels.to(torch.float32) / 127.5 - 1.0


def to_pixels(x: Tensor) -> Tensor:
    """Turn network values into uint8 pixels: clamp to [-1, 1], scale to 0..255, round half to even."""
    return ((x.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
