"""What every extractor is, and what it may be made from."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

GPU_TIMES = 8
"""How many times as many images a GPU is given at once as a processor: few leave most of it idle."""


class Extractor(Protocol):
    """A fixed network from images to named features; each image's features depend on that image alone."""

    @property
    def name(self) -> str:
        """Its name in EXTRACTORS."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of its weights, hexadecimal: figures of different weights are not comparable."""
        ...

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Turn uint8 [B, C, H, W], on the extractor's device, into named float32 [B, D]."""
        ...


class TrainingImages(Protocol):
    """Labelled images that an extractor may be trained on (`data.ImageSet` is one)."""

    @property
    def images(self) -> Tensor:
        """Pixels, uint8 [N, C, H, W]."""
        ...

    @property
    def labels(self) -> Tensor:
        """Classes, int64 [N]."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in label order."""
        ...

    @property
    def digest(self) -> str:
        """sha256 of pixels and labels, hexadecimal."""
        ...


def at_once(images: Tensor, most: int | None = None, values: int | None = None) -> int:
    """Return how many of some images a network is to see at once, so that memory does not grow with them.

    Args:
        images: [B, C, H, W], on the device that computes.
        most: images that a processor is given; None: any number.
        values: pixels times channels that it is given, of which one image may have more; None: any number.
    """
    times = GPU_TIMES if images.device.type == "cuda" else 1
    bounds = [] if most is None else [most * times]
    if values is not None:
        bounds.append(values * times // max(1, images[:1].numel()))
    return max(1, min(bounds, default=len(images)))


@contextmanager
def full_float32(device: torch.device) -> Generator[None, None, None]:
    """Compute in plain float32 and repeatably: no autocast, no TF32, no choosing of kernels by timing.

    Features are measured in a caller's training run, whose settings for speed must not change them.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    cudnn = torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
    )
    try:
        with torch.autocast(device.type, enabled=False), cudnn:
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
