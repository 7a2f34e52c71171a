"""From the bytes of one picture file to pixels: those that are trained on, or those that are stored.

What is trained on is uint8, RGB, square, of one size. The rule, in this order: the first frame is taken,
turned upright as its EXIF orientation says, converted to RGB (transparent parts over white, grey repeated in
the three channels), cut to its largest centred square and brought to the wanted side by antialiased bicubic
interpolation. A picture that already is all that comes out pixel for pixel as it was stored. Of 16 bits, grey
is rounded to 8; colours in PNG and TIFF lose the lower 8.

What is measured is what is stored: a picture with which the rule would have anything to do, but to repeat
grey, to cut or to resize, is refused.
"""

from __future__ import annotations

import os
import re
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import NamedTuple, NoReturn

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

RULE = "2"
"""Version of the rule above. It is part of every key under which decoded images are kept: whoever changes
what comes out for any picture changes it too."""

PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Pillow's names of what is read; its other readers are never given a stranger's bytes."""
EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm")
)
"""Endings of the files' names that go with them, in lower case."""

LARGEST_SIDE = 16_384
"""Pixels; a picture of a longer side is refused before it is decoded."""
MOST_PIXELS = 100_000_000
"""In all; as above."""

EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation; 1 is upright."""

OTHER_DEPTH = re.compile(r";1[56]")
"""In Pillow's name of how pixels are stored: their colours have another number of bits than 8."""


Shape = tuple[int, int, int]
"""Of an image: channels, height and width."""


class UndecodableError(Exception):
    """A picture that cannot be decoded; the message is one line that says why, without naming the picture."""


class Decoded(NamedTuple):
    """One picture's pixels."""

    pixels: np.ndarray
    """uint8 [3, S, S]."""
    changed: bool
    """Whether the rule had anything to do: False where these are the stored pixels."""


class DecodedBatch(NamedTuple):
    """Pixels of several pictures, up to the first that could not be decoded."""

    pixels: np.ndarray
    """uint8 [N, 3, S, S]."""
    changed: int
    """How many the rule had anything to do with."""
    fault: str
    """Why picture N of those that were asked for could not be decoded; empty: all were."""


class StoredBatch(NamedTuple):
    """Pixels of several pictures as they are stored, up to the first that could not be read."""

    pixels: np.ndarray
    """uint8 [N, C, H, W]."""
    fault: str
    """Why picture N of those that were asked for could not be read; empty: all were."""


def decode_batch(pictures: Sequence[bytes | Path], side: int) -> DecodedBatch:
    """Decode several pictures by the rule of this module; parameters as of `decode_image`."""
    pixels = np.empty((len(pictures), 3, side, side), np.uint8)
    changed = 0
    for i, picture in enumerate(pictures):
        try:
            decoded = decode_image(picture, side)
        except UndecodableError as error:
            return DecodedBatch(pixels[:i], changed, str(error))
        pixels[i] = decoded.pixels
        changed += decoded.changed
    return DecodedBatch(pixels, changed, "")


def decode_image(picture: bytes | Path, side: int) -> Decoded:
    """Decode one picture by the rule of this module.

    Args:
        picture: its file, or the bytes of one.
        side: S, pixels.

    Raises:
        UndecodableError: it is damaged, larger than is accepted, or no picture of a known format.
    """
    with _opened(picture) as stored:
        rescaled = _is_rescaled(stored)
        stored.load()
        squared = _square(_to_rgb(_upright(stored)), side)  # whatever has nothing to do returns its image
        return Decoded(np.asarray(squared).transpose(2, 0, 1), rescaled or squared is not stored)


def read_batch(pictures: Sequence[bytes | Path], shape: Shape) -> StoredBatch:
    """Read several pictures as they are stored, each of which has to have the shape."""
    pixels = np.empty((len(pictures), *shape), np.uint8)
    for i, picture in enumerate(pictures):
        try:
            pixels[i] = read_image(picture, shape)
        except UndecodableError as error:
            return StoredBatch(pixels[:i], str(error))
    return StoredBatch(pixels, "")


def read_image(picture: bytes | Path, shape: Shape | None = None) -> np.ndarray:
    """Return the pixels of one picture exactly as they are stored: uint8 [1, H, W] of grey, [3, H, W] of RGB.

    Args:
        picture: its file, or the bytes of one.
        shape: what those before it have; None: it is the first.

    Raises:
        UndecodableError: as of `decode_image`; or it has another shape, or pixels that are not 8-bit grey or
            RGB, opaque and upright.
    """
    with _opened(picture) as stored:
        unlike = _unlike_stored(stored)
        found = (1 if stored.mode == "L" else 3, stored.height, stored.width)
        if shape is not None and (unlike or found != shape):
            unlike = unlike or f"it is {in_words(found)}"
            raise UndecodableError(f"{unlike}, and those before it are {in_words(shape)}")
        if unlike:
            raise UndecodableError(f"{unlike}, and only upright grey or RGB of 8 bits is measured as it is")
        stored.load()
        return np.asarray(stored).reshape(*found[1:], found[0]).transpose(2, 0, 1)


def in_words(shape: Sequence[int]) -> str:
    """Return the shape of an image, [C, H, W], as one says it: width, height, kind of pixels."""
    channels, height, width = shape
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"


def prepare_process() -> None:
    """Let a process that decodes for another one leave interrupts to that one, and end with it.

    A parent that is killed says nothing to its pool, whose processes would wait for work for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (parent := parent_process()) is not None:
        Thread(target=_end_after, args=(parent,), daemon=True).start()


def preparation(side: int, changed: int, total: int) -> str:
    """Return in words what was done to `changed` of `total` pictures; empty where none was changed."""
    if not changed:
        return ""
    return (
        f"{changed:,} of {total:,} images brought to {side}x{side} RGB: EXIF orientation, transparency "
        "over white, largest centred square, antialiased bicubic"
    )


@contextmanager
def _opened(picture: bytes | Path) -> Iterator[ImageFile.ImageFile]:
    """Open a picture; whatever is wrong with it raises `UndecodableError` for as long as this lasts."""
    file = BytesIO(picture) if isinstance(picture, bytes) else picture
    try:
        with _strict_pillow(), Image.open(file, formats=PILLOW_FORMATS) as stored:
            refuse_giant(*stored.size)
            yield stored
    except UndecodableError:
        raise
    except Exception as error:  # Pillow's readers raise nearly every kind there is for a stranger's bytes
        raise UndecodableError(_reason(error)) from error


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Refuse truncated files and keep Pillow's warnings from the console, for as long as this lasts."""
    lenient = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            # What they warn of is either refused here (size, truncation) or does not touch the pixels.
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def refuse_giant(width: int, height: int) -> None:
    """Raise `UndecodableError` for images that nobody should try to hold."""
    if max(width, height) > LARGEST_SIDE or width * height > MOST_PIXELS:
        raise UndecodableError(
            f"it has {width:,} x {height:,} pixels, and at most {LARGEST_SIDE:,} a side and {MOST_PIXELS:,} "
            "in all are accepted"
        )


def _end_after(parent: BaseProcess) -> NoReturn:
    parent.join()
    os._exit(1)


def _is_rescaled(image: ImageFile.ImageFile) -> bool:
    """Whether the colours of an image that is not loaded yet have another range than 0 to 255."""
    # Pillow brings both to 8 bits while it loads, and does not say so afterwards.
    for decoder, _, _, stored_as in image.tile:
        of_other_levels = isinstance(stored_as, tuple) and decoder.startswith("ppm") and stored_as[-1] != 255
        if of_other_levels or OTHER_DEPTH.search(str(stored_as)):
            return True
    return False


def _unlike_stored(image: ImageFile.ImageFile) -> str:
    """Return why the pixels of an image that is not loaded yet are not those to measure; empty: they are."""
    if getattr(image, "n_frames", 1) > 1:
        return "it has several frames"
    if _is_rescaled(image) or image.mode.startswith(("I", "F")):
        return "its pixels have another depth than 8 bits"
    if image.mode == "P":
        return "it has a palette"
    if image.has_transparency_data:
        return "it has transparent pixels"
    if image.mode not in ("L", "RGB"):
        return f"its pixels are {image.mode}"
    # Before it is loaded: Pillow turns a TIFF upright on the way, and then knows of no orientation.
    return "it is turned by its EXIF orientation" if image.getexif().get(EXIF_ORIENTATION) in UPRIGHT else ""


def _upright(image: Image.Image) -> Image.Image:
    method = UPRIGHT.get(image.getexif().get(EXIF_ORIENTATION, 1))
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        sixteen_bit = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((sixteen_bit + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UndecodableError("its pixels have 32 bits, whose white nobody knows: store it with 8 or 16")
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")


def _square(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    if width != height:
        # Cut before it is resized: a resize within a box would let pixels outside bleed in.
        image = image.crop((left, top, left + edge, top + edge))
    return image if edge == side else image.resize((side, side), Image.Resampling.BICUBIC)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is empty, damaged, or no picture in a format that is read ({', '.join(PILLOW_FORMATS)})"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MOST_PIXELS:,} pixels"
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be read ({error.strerror.lower()})"
    return f"it is damaged ({' '.join(str(error).split())[:120] or type(error).__name__})"
