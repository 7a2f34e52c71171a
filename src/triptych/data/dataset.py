"""Sets of labelled images, decoded once and kept as uint8."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one split, all of one size.

    Attributes:
        name: data set and split, such as `digits/train`.
        images: uint8 [N, C, H, W].
        labels: int64 [N], each in [0, len(class_names)).
        class_names: one name per class, in label order.
    """

    name: str
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def digest(self) -> str:
        """sha256 of shape, pixels and labels: equal digests mean equal images in equal order."""
        h = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        h.update(self.images.cpu().contiguous().view(-1).numpy())
        h.update(self.labels.cpu().contiguous().view(-1).numpy())
        return h.hexdigest()

    def to(self, device: torch.device | str) -> ImageSet:
        """Return the same set with its tensors on `device`."""
        return self._alike(images=self.images.to(device), labels=self.labels.to(device))

    def renamed(self, name: str) -> ImageSet:
        """Return the same set under another name."""
        return self._alike(name=name)

    def take(self, index: Tensor) -> ImageSet:
        """Return the subset at `index` (int64 [M]), in that order."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    def _alike(self, **changes: str | Tensor) -> ImageSet:
        """Return a copy of the same images, elsewhere or under another name, whose digest is ours."""
        copy = replace(self, **changes)
        if "digest" in vars(self):
            vars(copy)["digest"] = self.digest
        return copy


@dataclass(frozen=True)
class Dataset:
    """A training split, and a held-out split that training never sees.

    Attributes:
        name: what the record calls it.
        train: images to train on.
        held_out: images of the same classes and size.
        preparation: what was done to the files' pixels, in words for the record; empty: nothing.
    """

    name: str
    train: ImageSet
    held_out: ImageSet
    preparation: str = ""

    def renamed(self, name: str) -> Dataset:
        """Return the same data set under another name, its splits with it."""
        train, held_out = self.train.renamed(f"{name}/train"), self.held_out.renamed(f"{name}/held-out")
        return replace(self, name=name, train=train, held_out=held_out)

    @property
    def channels(self) -> int:
        """Colour channels of every image."""
        return self.train.images.shape[1]

    @property
    def image_size(self) -> int:
        """Height and width of every image, in pixels."""
        return self.train.images.shape[2]

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in label order."""
        return self.train.class_names
