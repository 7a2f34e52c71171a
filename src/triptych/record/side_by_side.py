"""The same images by several models as one picture: a block of columns for each, its name above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

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
HEADER_WIDTH = 200
"""Pixels that a name or a remark may widen its block to; what is longer takes several lines."""
MOST_LINES = 4
"""Lines that a name or a remark may take; what is longer still is cut."""


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
    `caption` below, in as many lines as it needs; names and remarks above take several where they are long.
    A name that the font cannot write becomes `model 2`.
    Raises ValueError where the images of the blocks are not alike.
    """
    arrays = [as_array(block.images) for block in blocks]
    if len({array.shape for array in arrays}) != 1:
        raise ValueError(f"blocks of unlike images: {[list(array.shape) for array in arrays]}")
    layouts, headers = _lay_out(arrays[0].shape, columns, blocks, row_labels)
    width = max(layouts[-1].right, layouts[-1].left + max(header.width for header in headers)) + MARGIN
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
    below_names = MARGIN + max(len(header.name) for header in headers) * (TITLE_SIZE + LEADING)
    for header, layout in zip(headers, layouts, strict=True):
        top = below_names - len(header.name) * (TITLE_SIZE + LEADING)
        _write_lines(picture, (layout.left, top), header.name, TITLE_SIZE, INK)
        _write_lines(picture, (layout.left, below_names), header.remark, LABEL_SIZE, PALE_INK)
    _write_lines(picture, (first.left, first.bottom + 12), lines, LABEL_SIZE, PALE_INK)
    return picture


class _Header(NamedTuple):
    """What stands above a block, in lines."""

    name: list[str]
    remark: list[str]

    @property
    def width(self) -> int:
        """Pixels of the widest line."""
        names = [lettering.width(line, TITLE_SIZE) for line in self.name]
        return max([*names, *(lettering.width(line, LABEL_SIZE) for line in self.remark)], default=0)


def _lay_out(
    shape: tuple[int, ...], columns: int | None, blocks: Sequence[Block], row_labels: Sequence[str]
) -> tuple[list[Layout], list[_Header]]:
    """Return where the images of each block stand, and what stands above them."""
    count, channels, height, width = shape
    columns = columns or nearly_square(count)
    rows = -(-count // columns)
    scale = enlarging(height, width, columns * len(blocks), rows, SPACING)
    layout = lay_out((count, channels, height, width), columns, row_labels=row_labels, scale=scale)
    own = layout.right - layout.left
    room = max(own, HEADER_WIDTH)
    headers = [
        _Header(_lines(_name(block, i), TITLE_SIZE, room), _lines(block.remark, LABEL_SIZE, room))
        for i, block in enumerate(blocks, start=1)
    ]
    names, remarks = (max(map(len, parts)) for parts in zip(*headers, strict=True))
    layout = replace(
        layout, top=MARGIN + names * (TITLE_SIZE + LEADING) + remarks * (LABEL_SIZE + LEADING) + 6
    )
    pitch = max(own, *(header.width for header in headers)) + BLOCK_GAP
    return [replace(layout, left=layout.left + i * pitch) for i in range(len(blocks))], headers


def _lines(text: str, size: int, limit: int) -> list[str]:
    """Return `text` in lines of up to `limit` pixels, the last of which is cut where they are too many."""
    lines = lettering.wrap(text, size, limit)
    if len(lines) <= MOST_LINES:
        return lines
    last = " ".join(lines[MOST_LINES - 1 :])
    return [*lines[: MOST_LINES - 1], lettering.shorten(last, size, limit)]


def _write_lines(
    picture: Image.Image, at: tuple[int, int], lines: Sequence[str], size: int, shade: int
) -> None:
    for i, line in enumerate(lines):
        lettering.write(picture, (at[0], at[1] + i * (size + LEADING)), line, size, shade)


def _name(block: Block, number: int) -> str:
    return block.name if lettering.is_spelt(block.name) else f"model {number}"
