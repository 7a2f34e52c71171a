"""A data set from pictures of any size, each with its class: what every format of picture files comes to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from triptych.data.dataset import Dataset, ImageSet
from triptych.data.parallel_decoding import Picture, decode_all
from triptych.decoding import preparation
from triptych.errors import UserError
from triptych.work import Watch, unwatched

USUAL_SIDE = 32
"""Pixels a side that pictures are brought to where no other size is asked for."""
HELD_OUT_NAMES = ("test", "validation", "valid", "val", "held-out", "held_out")
"""What a split that is to be held out of training may be called; the first that is there is."""
HELD_OUT_EVERY = 10
"""Of so many images of a class one is held out, where there is no test split."""
HELD_OUT_IN_WORDS = f"no test split: every {HELD_OUT_EVERY}th image of each class held out"


class FoundPictures(NamedTuple):
    """N pictures with their classes, none of them decoded yet."""

    pictures: Iterable[Picture]
    """Taken a few at a time."""
    labels: Tensor
    """int64 [N], each in [0, len(class_names))."""
    class_names: tuple[str, ...]
    """In label order."""
    held_out: Tensor | None
    """bool [N], which are a test split; None: there is none."""


def dataset_from_pictures(
    name: str,
    found: FoundPictures,
    *,
    side: int,
    asked: str,
    remark: str = "",
    watch: Watch = unwatched,
) -> Dataset:
    """Decode pictures and part them into a training and a held-out split, each in the order given.

    Args:
        name: of the data set.
        found: the pictures; where there is no test split, one is set apart.
        side: of the images, pixels.
        asked: what the user named, for messages.
        remark: what else the record should say of the preparation.
        watch: sees how many are decoded.

    Raises:
        UserError: a picture cannot be decoded, or too few are there.
    """
    pictures, labels, class_names, held_out = found
    parted = every_tenth(labels, class_names, asked) if held_out is None else held_out
    count = int((~parted).sum())
    for split, size in (("training", count), ("held-out", len(labels) - count)):
        if size == 0:
            raise UserError(asked, f"its {split} split has no images", "give it some")
    # One array for both splits, training first: neither is ever copied.
    order = parted.int().argsort(stable=True)
    images, changed = decode_all(pictures, order.argsort().tolist(), side, asked, watch)

    def part(split: str, chosen: slice) -> ImageSet:
        pixels = torch.from_numpy(images[chosen])
        return ImageSet(f"{name}/{split}", pixels, labels[order[chosen]], class_names)

    remarks = (
        preparation(side, changed, len(labels)),
        "" if held_out is not None else HELD_OUT_IN_WORDS,
        remark,
    )
    return Dataset(
        name,
        part("train", slice(count)),
        part("held-out", slice(count, None)),
        "; ".join(filter(None, remarks)),
    )


def every_tenth(labels: Tensor, class_names: tuple[str, ...], asked: str) -> Tensor:
    """Return which images are held out: of each class the last of every ten, or the last of fewer.

    Args:
        labels: int64 [N].
        class_names: one per class, in label order.
        asked: what the user named, for the message.

    Returns:
        bool [N], true where an image is held out.

    Raises:
        UserError: a class has a single image.
    """
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label, name in enumerate(class_names):
        members = (labels == label).nonzero().flatten()
        if len(members) == 1:
            found = f"class {name!r} has one image, and there is no test split"
            raise UserError(asked, found, "give every class at least two")
        every = min(HELD_OUT_EVERY, max(1, len(members)))
        held_out[members[every - 1 :: every]] = True
    return held_out
