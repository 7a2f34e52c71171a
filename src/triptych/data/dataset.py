"""Sets of labelled images, decoded once and kept as uint8."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from triptych.errors import UserError

LONGEST_CLASS_NAME = 100
"""Characters."""
JOINERS = "\u200c\u200d"
"""Invisible, and part of how words of some scripts and some emoji are written."""


def check_class_names(names: object, asked: str) -> tuple[str, ...]:
    """Return names of classes, in label order, once they have been found to be such names.

    Any text that can be shown on one line is one, `apartment_building/outdoor` among them: whoever makes file
    names of them sees to what a file may be called.

    Args:
        names: as a file gives them; none at all are in order.
        asked: what the user named, for messages.

    Raises:
        UserError: they are no list of texts, or one is empty, too long, not to be shown, or there twice.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise UserError(asked, "its names of classes are no list of texts", "give one text for each class")
    seen: set[str] = set()
    for label, name in enumerate(names):
        if not name.strip():
            fault = "has a name without a letter"
        elif len(name) > LONGEST_CLASS_NAME:
            fault = f"has a name of {len(name)} characters, more than {LONGEST_CLASS_NAME}: {name[:30]!a}..."
        elif not all(map(_can_be_shown, name)):
            fault = f"is called {name!a}, which cannot be shown on one line"
        elif name in seen:
            fault = f"is called {name!r}, as another one is"
        else:
            seen.add(name)
            continue
        raise UserError(asked, f"class {label} {fault}", "rename the class")
    return tuple(names)


def _can_be_shown(character: str) -> bool:
    is_space = unicodedata.category(character) == "Zs"  # the wide one of Chinese texts, say
    return character.isprintable() or is_space or character in JOINERS


@dataclass(frozen=True)
class ImageSizes:
    """What is known of a data set before its images are read; None: nothing.

    Attributes:
        channels: colour channels of every image.
        image_size: height and width of every image, in pixels.
        train: images to train on.
        held_out: images that training never sees.
        classes: number of classes.
    """

    channels: int
    image_size: int
    train: int | None = None
    held_out: int | None = None
    classes: int | None = None


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
