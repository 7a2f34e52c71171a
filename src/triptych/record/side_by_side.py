"""The same images by several models as one picture: a block of columns for each, its name above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from triptych.record import lettering
from triptych.record.pictures import (
    GROUND,
    INK,
    LABEL_SIZE,
    LEADING,
    MARGIN,
    PALE_INK,
    TITLE_SIZE,
    Layout,
    as_array,
    enlarging,
    is_tiny,
    lay_out,
    nearly_square,
    paste,
)

BLOCK_GAP = 28
"""Pixels between blocks: so many more than between images that the eye parts them without a line."""
SPACING = 4
"""Pixels between images, where `lay_out` does not choose fewer."""
LONGEST_NAME = 260
"""Pixels that the name of a model may widen its block to; a longer one is cut."""


@dataclass(frozen=True)
class Block:
    """The images of one model."""

    images: Any
    """uint8 [N, 1 or 3, H, W], as numpy or torch; of every block equally many, of one shape."""
    name: str
    """Of the model, written above its images."""
    remark: str = ""
    """What else is to be known of it, written below its name."""


def side_by_side(
    blocks: Sequence[Block],
    columns: int | None = None,
    *,
    row_labels: Sequence[str] = (),
    caption: str = "",
) -> Image.Image:
    """Return blocks of images beside one another, each in rows of `columns` (None: nearly square).

    Image j stands in the same place of every block. Labels stand left of the rows that all blocks share, and
    `caption` below, in as many lines as it needs. A name that the font cannot write becomes `model 2`.
    Raises ValueError where the images of the blocks are not alike.
    """
    arrays = [as_array(block.images) for block in blocks]
    if len({array.shape for array in arrays}) != 1:
        raise ValueError(f"blocks of unlike images: {[list(array.shape) for array in arrays]}")
    layouts = _lay_out(arrays[0].shape, columns, blocks, row_labels)
    width = max(layouts[-1].right, layouts[-1].left + _header_width(blocks)) + MARGIN
    first = layouts[0]
    lines = lettering.wrap(caption, LABEL_SIZE, width - first.left - MARGIN)
    below = len(lines) * (LABEL_SIZE + LEADING) - LEADING + 12 if lines else 0
    canvas = np.full((first.bottom + below + MARGIN, width, arrays[0].shape[1]), GROUND, np.uint8)
    for array, layout in zip(arrays, layouts, strict=True):
        paste(canvas, array.transpose(0, 2, 3, 1), layout, smooth=is_tiny(array))
    picture = Image.fromarray(canvas if canvas.shape[2] == 3 else canvas[:, :, 0])
    for row, label in enumerate(row_labels):
        x, y = first.corner(row * first.columns)
        text = lettering.shorten(label, LABEL_SIZE, x - 10 - MARGIN)
        lettering.write(picture, (x - 10, y + first.height / 2), text, LABEL_SIZE, INK, "rm")
    for number, (block, layout) in enumerate(zip(blocks, layouts, strict=True), start=1):
        room = max(layout.right - layout.left, _header_width(blocks))
        name = lettering.shorten(_name(block, number), TITLE_SIZE, room)
        lettering.write(picture, (layout.left, MARGIN), name, TITLE_SIZE, INK)
        remark = lettering.shorten(block.remark, LABEL_SIZE, room)
        lettering.write(picture, (layout.left, MARGIN + TITLE_SIZE + 6), remark, LABEL_SIZE, PALE_INK)
    for i, line in enumerate(lines):
        top = first.bottom + 12 + i * (LABEL_SIZE + LEADING)
        lettering.write(picture, (first.left, top), line, LABEL_SIZE, PALE_INK)
    return picture


def _lay_out(
    shape: tuple[int, ...], columns: int | None, blocks: Sequence[Block], row_labels: Sequence[str]
) -> list[Layout]:
    """Return where the images of each block stand."""
    count, channels, height, width = shape
    columns = columns or nearly_square(count)
    rows = -(-count // columns)
    scale = enlarging(height, width, columns * len(blocks), rows, SPACING)
    layout = lay_out((count, channels, height, width), columns, row_labels=row_labels, scale=scale)
    remarks = any(block.remark for block in blocks)
    layout = replace(layout, top=MARGIN + TITLE_SIZE + 10 + (LABEL_SIZE + 6 if remarks else 0))
    pitch = max(layout.right - layout.left, _header_width(blocks)) + BLOCK_GAP
    return [replace(layout, left=layout.left + i * pitch) for i in range(len(blocks))]


def _header_width(blocks: Sequence[Block]) -> int:
    """Return the pixels that names and remarks need, as far as they are given them."""
    names = [lettering.width(_name(block, i), TITLE_SIZE) for i, block in enumerate(blocks, start=1)]
    remarks = [lettering.width(block.remark, LABEL_SIZE) for block in blocks]
    return min(LONGEST_NAME, max([*names, *remarks]))


def _name(block: Block, number: int) -> str:
    return block.name if lettering.is_spelt(block.name) else f"model {number}"
