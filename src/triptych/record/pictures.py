"""Pictures of generated images: grids with as much lettering as they need, on a quiet ground.

Images are uint8 [N, C, H, W] with 1 or 3 channels, as numpy arrays or torch tensors on any device. They are
enlarged by a whole number: each pixel to a square of equal pixels, or smoothly where squares would be so
large that the eye sees them and not the image.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from triptych.record import lettering

GROUND = 250
INK = 45
PALE_INK = 115
MARGIN = 12
TITLE_SIZE = 15
LABEL_SIZE = 13
LEADING = 5
"""Pixels between the lines of a caption."""
CELL = 64
"""Side in pixels that small images are enlarged towards; never exceeded by enlarging."""
LONGEST_LABEL = 140
"""Pixels that the label of a row may take; a longer one is cut."""
NARROWEST = 220
"""Pixels that a picture with a caption is wide at least: a run's name is to fit into one line."""
SMOOTH_UP_TO = 16
"""Images of up to this side are enlarged by bicubic interpolation: a digit of 64 squares is hard to read."""
WIDEST = 4096
"""Side in pixels that a grid is kept below by enlarging less, or not at all."""


def as_array(images: Any) -> np.ndarray:
    """Return images as a contiguous uint8 array [N, C, H, W] in main memory; ValueError for anything else."""
    if hasattr(images, "detach"):
        images = images.detach().cpu().numpy()
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1] not in (1, 3):
        raise ValueError(f"pictures are uint8 [N, 1 or 3, H, W], not {array.dtype} {list(array.shape)}")
    return np.ascontiguousarray(array)


def enlarging(height: int, width: int, columns: int, rows: int, spacing: int, cell: int = CELL) -> int:
    """Return the whole number by which to enlarge images of this size in a grid of this many."""
    room = [(WIDEST // count - spacing) // side for count, side in ((columns, width), (rows, height))]
    return max(1, min(cell // max(height, width), *room))


def nearly_square(count: int) -> int:
    """Return columns for `count` images: without a gap in the last row if at most twice as wide as high."""
    side = max(1, math.isqrt(max(0, count - 1)) + 1)
    full = (columns for columns in range(side, math.isqrt(2 * count) + 2) if count % columns == 0)
    return next(full, side)


@dataclass(frozen=True)
class Layout:
    """Where each image of a grid stands, in pixels of the picture."""

    columns: int
    rows: int
    height: int
    """Of one image as drawn, enlarged."""
    width: int
    spacing: int
    left: int
    top: int

    def corner(self, i: int) -> tuple[int, int]:
        """Return x and y of the top left pixel of image `i`, counted row by row."""
        row, column = divmod(i, self.columns)
        return self.left + column * (self.width + self.spacing), self.top + row * (self.height + self.spacing)

    @property
    def right(self) -> int:
        """X just right of the last column."""
        return self.left + self.columns * (self.width + self.spacing) - self.spacing

    @property
    def bottom(self) -> int:
        """Y just below the last row."""
        return self.top + self.rows * (self.height + self.spacing) - self.spacing


def lay_out(
    shape: tuple[int, int, int, int],
    columns: int | None = None,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    scale: int | None = None,
    spacing: int | None = None,
    cell: int = CELL,
) -> Layout:
    """Return the layout of `grid` for images of `shape` [N, C, H, W]; parameters as there."""
    count, _, height, width = shape
    columns = columns or nearly_square(count)
    rows = max(1, -(-count // columns))
    gap = 4 if spacing is None else spacing
    factor = scale or enlarging(height, width, columns, rows, gap, cell)
    if spacing is None and factor * max(height, width) < 40:
        gap = 2
    label_room = max((lettering.width(_row_label(label), LABEL_SIZE) for label in row_labels), default=0)
    return Layout(
        columns,
        rows,
        height * factor,
        width * factor,
        gap,
        left=MARGIN + (label_room + 10 if label_room else 0),
        top=MARGIN + (TITLE_SIZE + 11 if title else 0) + (LABEL_SIZE + 7 if any(column_labels) else 0),
    )


def grid(
    images: Any,
    columns: int | None = None,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    caption: str = "",
    scale: int | None = None,
    spacing: int | None = None,
) -> Image.Image:
    """Return images in rows of `columns` (None: nearly square), enlarged by `scale` (None: as suits them).

    An explicit `scale` makes squares of pixels; without one, the smallest images are enlarged smoothly.
    Labels stand left of their rows and above their columns, `title` above everything and `caption` below it,
    in as many lines as it needs.
    `spacing` is in pixels. The picture is grey (mode L) for one channel and RGB for three.
    Raises ValueError where `images` are not uint8 [N, 1 or 3, H, W].
    """
    array = as_array(images)
    layout = lay_out(
        array.shape,
        columns,
        row_labels=row_labels,
        column_labels=column_labels,
        title=title,
        scale=scale,
        spacing=spacing,
    )
    width = max(layout.right + MARGIN, NARROWEST if caption else 0)
    lines = lettering.wrap(caption, LABEL_SIZE, width - layout.left - MARGIN)
    height = (
        layout.bottom + MARGIN + (LABEL_SIZE * len(lines) + LEADING * (len(lines) - 1) + 8 if lines else 0)
    )
    canvas = np.full((height, width, array.shape[1]), GROUND, np.uint8)
    paste(canvas, array.transpose(0, 2, 3, 1), layout, smooth=scale is None and is_tiny(array))
    picture = Image.fromarray(canvas if array.shape[1] == 3 else canvas[:, :, 0])
    _write_labels(picture, layout, row_labels, column_labels)
    if title:
        text = lettering.shorten(title, TITLE_SIZE, width - 2 * MARGIN)
        lettering.write(picture, (MARGIN, MARGIN), text, TITLE_SIZE, INK)
    for i, line in enumerate(lines):
        top = layout.bottom + 8 + i * (LABEL_SIZE + LEADING)
        lettering.write(picture, (layout.left, top), line, LABEL_SIZE, PALE_INK)
    return picture


def class_grid(
    images: Any, labels: Any, class_names: Sequence[str], *, title: str = "", caption: str = ""
) -> Image.Image:
    """Return a grid with one named row per class that occurs; see `rows_by_class`."""
    filled, columns, row_labels = rows_by_class(images, labels, class_names)
    return grid(filled, columns, row_labels=row_labels, title=title, caption=caption)


def rows_by_class(images: Any, labels: Any, class_names: Sequence[str]) -> tuple[np.ndarray, int, list[str]]:
    """Return images in one row per class that occurs, their columns, and what each row is called.

    Rows come in the order of `class_names`. `labels` are the classes of `images`, integers [N] in any order;
    within a row images keep theirs. Rows of fewer images than the longest are filled up with ground.
    """
    array = as_array(images)
    classes = np.asarray(labels.tolist() if hasattr(labels, "tolist") else labels, np.int64)
    present = [c for c in range(len(class_names)) if (classes == c).any()]
    columns = max(1, max((int((classes == c).sum()) for c in present), default=1))
    filled = np.full((len(present) * columns, *array.shape[1:]), GROUND, np.uint8)
    for row, c in enumerate(present):
        members = array[classes == c]
        filled[row * columns : row * columns + len(members)] = members
    names = lettering.class_labels(class_names)
    return filled, columns, [names[c] for c in present]


def is_tiny(images: np.ndarray) -> bool:
    """Whether images [N, C, H, W] are so small that they are better enlarged smoothly."""
    return max(images.shape[2:]) <= SMOOTH_UP_TO


def paste(
    canvas: np.ndarray,
    images: np.ndarray,
    layout: Layout,
    *,
    smooth: bool = False,
    greys: int = 256,
) -> None:
    """Draw images [N, H, W, ...] into the canvas [H', W', ...] at their places, at the layout's size.

    `smooth` interpolates between pixels; `greys`, a power of two, is how many shades are kept.
    """
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    for i, image in enumerate(images):
        x, y = layout.corner(i)
        picture = Image.fromarray(image.squeeze(-1) if image.shape[2:] == (1,) else image)
        enlarged = np.asarray(picture.resize((layout.width, layout.height), method))
        if greys < 256:
            enlarged = enlarged // (256 // greys) * np.uint8(255 // (greys - 1))
        target = canvas[y : y + layout.height, x : x + layout.width]
        target[...] = enlarged.reshape(target.shape)


def _row_label(label: str) -> str:
    return lettering.shorten(label, LABEL_SIZE, LONGEST_LABEL)


def _write_labels(picture: Image.Image, layout: Layout, rows: Sequence[str], columns: Sequence[str]) -> None:
    for row, label in enumerate(rows):
        x, y = layout.corner(row * layout.columns)
        lettering.write(picture, (x - 10, y + layout.height / 2), _row_label(label), LABEL_SIZE, INK, "rm")
    for column, label in enumerate(columns):
        x, y = layout.corner(column)
        text = lettering.shorten(label, LABEL_SIZE, layout.width + layout.spacing)
        lettering.write(picture, (x + layout.width / 2, y - 6), text, LABEL_SIZE, INK, "mb")


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a picture so that `path` is absent, old or complete at any moment; makes missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        picture.save(aside, format="PNG", optimize=True)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
