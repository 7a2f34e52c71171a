"""What every extractor is, and what it may be made from."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor


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
