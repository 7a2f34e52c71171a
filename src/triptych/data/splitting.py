"""Which images are held out of training where the data bring no test split of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.errors import UserError

EVERY = 10
"""Of so many images of a class, one is held out."""

IN_WORDS = f"no test split: every {EVERY}th image of each class held out"
"""For the record."""


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
            raise UserError(
                asked, f"class {name!r} has one image, and no test split", "give every class at least two"
            )
        held_out[members[EVERY - 1 :: EVERY] if len(members) >= EVERY else members[-1:]] = True
    return held_out
