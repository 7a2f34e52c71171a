"""1,797 real handwritten digits of 8x8 pixels, embedded in the package: data without a download.

Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository,
CC BY 4.0; `digits.md` beside this file holds the attribution.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import torch

from triptych.data.dataset import Dataset, ImageSet, ImageSizes

HELD_OUT_EVERY = 5
"""Within each class, every fifth image is held out of training."""
SIZES = ImageSizes(channels=1, image_size=8, train=1_442, held_out=355, classes=10)
"""What `load` returns."""


def load() -> Dataset:
    """Return the digits: 1,442 images to train on, 355 held out, all classes alike in both."""
    with np.load(str(files("triptych.data") / "digits.npz"), allow_pickle=False) as archive:
        sixteenths = torch.from_numpy(archive["images"])[:, None]  # N 1 8 8
        labels = torch.from_numpy(archive["labels"]).long()
    pixels = (sixteenths.float() * (255 / 16)).round().to(torch.uint8)
    names = tuple(str(digit) for digit in range(10))
    place = torch.empty_like(labels)  # of each image among those of its class
    for digit in range(10):
        place[labels == digit] = torch.arange(int((labels == digit).sum()))
    held_out = place % HELD_OUT_EVERY == HELD_OUT_EVERY - 1

    def split(name: str, chosen: torch.Tensor) -> ImageSet:
        return ImageSet(f"digits/{name}", pixels[chosen], labels[chosen], names)

    return Dataset("digits", split("train", ~held_out), split("held-out", held_out))
