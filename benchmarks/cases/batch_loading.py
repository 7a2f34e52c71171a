"""A batch of training images: taken from all images at once, and by torch's loader, one image at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks.comparison import Call, Case, Comparison, Variant
from benchmarks.work import CHANNELS, CLASSES
from triptych.commands.bench import BenchOptions
from triptych.data.batches import Batches
from triptych.data.dataset import ImageSet

OURS = "triptych"
IMAGES, SIZE, BATCH = 50_000, 32, 128
QUICK_IMAGES, QUICK_SIZE, QUICK_BATCH = 40, 8, 2


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return the one comparison: batches of random images, mirrored at random, in [-1, 1]."""
    count, size, batch = (QUICK_IMAGES, QUICK_SIZE, QUICK_BATCH) if options.quick else (IMAGES, SIZE, BATCH)
    batch = options.batch or batch
    variants = {
        OURS: Variant(lambda: ours(count, size, batch)),
        "torch DataLoader": Variant(
            lambda: loader(count, size, batch), note="in the same process, images that lie in memory"
        ),
    }
    return [Comparison(f"{count:,} images of {size}x{size} pixels", 0, batch, OURS, variants)]


def pixels(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Return images, uint8 [N, 3, H, W], and their classes."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, CHANNELS, size, size), generator=draw, dtype=torch.uint8)
    return images, torch.arange(count) % CLASSES


def ours(count: int, size: int, batch: int) -> Call:
    """Return the next batch as training takes it."""
    images, labels = pixels(count, size)
    data = ImageSet("random/train", images, labels, tuple(map(str, range(CLASSES))))
    batches = Batches(data, batch, seed=0, flip=True)
    steps = iter(range(2**31))

    def load() -> Sequence[Tensor]:
        return [batches.at(next(steps)).x0][:0]

    return load


class Mirrored(TorchDataset):
    """Images as programs around torch's loader have them: one at a time.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N].
    """

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
        return image.float() / 127.5 - 1, self.labels[index]


def loader(count: int, size: int, batch: int) -> Call:
    """Return the next batch of torch's loader."""
    loaded = DataLoader(Mirrored(*pixels(count, size)), batch, shuffle=True, drop_last=True)
    batches = iter(loaded)

    def load() -> Sequence[Tensor]:
        nonlocal batches
        try:
            return next(batches)[:0]
        except StopIteration:
            batches = iter(loaded)
            return next(batches)[:0]

    return load


CASE = Case("a batch of training images, against torch's loader", comparisons)
