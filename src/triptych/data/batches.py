"""Which image stands where in training, and batches of them taken on the device.

The images of all batches form one endless sequence. Position p = step * batch size + place lies in
epoch p // N, and within it at place p % N of that epoch's own random order; batches cross the ends of
epochs, so that no image is left out or seen twice in one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from triptych.data.dataset import ImageSet
from triptych.devices import send
from triptych.images import to_network
from triptych.random import Stream, bernoulli, permutation, stream_key


@dataclass(frozen=True)
class Batch:
    """Training images of one step.

    Attributes:
        x0: float32 [B, C, H, W] in [-1, 1].
        labels: int64 [B].
        index: int64 [B], the place of each image in the global batch: what its draws are keyed by.
        places: the same on the host.
    """

    x0: Tensor
    labels: Tensor
    index: Tensor
    places: range


@dataclass
class Batches:
    """The batches of a training run, as a function of the step.

    Attributes:
        images: the training split, on the device that trains.
        batch_size: images per step, over all processes.
        seed: of the run.
        flip: whether images are mirrored left to right with probability one half.
    """

    images: ImageSet
    batch_size: int
    seed: int
    flip: bool = False
    _orders: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def positions(self, step: int) -> Tensor:
        """Return where each place of the global batch falls in the training images: int64 [B]."""
        p = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epoch, place = p // len(self.images), p % len(self.images)
        chosen = torch.empty_like(p)
        for e in epoch.unique().tolist():
            chosen[epoch == e] = self._order(e)[place[epoch == e]]
        return chosen

    def at(self, step: int, salt: int = 0, places: range | None = None) -> Batch:
        """Return the batch of optimiser step `step`, counted from 0, or only those `places` of it."""
        device = self.images.images.device
        places = range(self.batch_size) if places is None else places
        chosen = send(self.positions(step)[places.start : places.stop], device)
        index = torch.arange(places.start, places.stop, device=device)
        pixels = self.images.images[chosen]
        if self.flip:
            mirrored = bernoulli(0.5, self.seed, stream_key(Stream.FLIP, salt=salt), step, index)
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
        return Batch(to_network(pixels), self.images.labels[chosen], index, places)

    def _order(self, epoch: int) -> Tensor:
        """Return the random order of one epoch, kept while batches may still need it."""
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = permutation(self.seed, Stream.ORDER, epoch, len(self.images))
        return self._orders[epoch]
