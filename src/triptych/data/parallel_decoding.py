"""Many pictures decoded into one array."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from triptych.decoding import UndecodableError, decode_image
from triptych.errors import UserError


class Picture(NamedTuple):
    """A picture that is still to be decoded."""

    name: str
    """What a message calls it."""
    data: bytes
    """Of its file."""


def allocate(count: int, side: int, asked: str) -> np.ndarray:
    """Return room for that many images: uint8 [N, 3, S, S].

    Raises:
        UserError: there is not so much memory.
    """
    try:
        return np.empty((count, 3, side, side), np.uint8)
    except (MemoryError, ValueError) as error:
        found = f"{count:,} images of {side}x{side} take {3 * count * side * side / 2**30:,.1f} GiB"
        raise UserError(asked, found, "choose a smaller --data.image-size") from error


def decode_into(images: np.ndarray, places: Iterable[int], pictures: Iterable[Picture]) -> int:
    """Decode pictures into their places; return how many the rule of decoding had to change.

    Args:
        images: uint8 [N, 3, S, S], written.
        places: for each picture, where in `images` it belongs.
        pictures: in any order.

    Raises:
        UserError: a picture cannot be decoded.
    """
    changed = 0
    for place, picture in zip(places, pictures, strict=True):
        try:
            decoded = decode_image(picture.data, images.shape[-1])
        except UndecodableError as error:
            raise UserError(picture.name, str(error), "mend or remove it") from error
        images[place] = decoded.pixels
        changed += decoded.changed
    return changed
