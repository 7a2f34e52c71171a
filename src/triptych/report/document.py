"""What a report is made of, free of any markup: sections produce these, renderers turn them into a page.

All text is plain; a renderer escapes what its markup would misread.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the highest."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Note:
    """A remark set apart from the text."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list without order."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Strong:
    """A cell that stands out, such as the best of its column."""

    text: str


Cell = str | Strong


@dataclass(frozen=True)
class Table:
    """A table; every row has as many cells as there are columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells under {len(self.columns)} columns: {row}")


@dataclass(frozen=True)
class Picture:
    """An image file."""

    path: str
    """Relative to the folder of the report, with forward slashes, not quoted."""
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, each drawn `width` pixels wide."""

    pictures: tuple[Picture, ...]
    width: int


@dataclass(frozen=True)
class Command:
    """Something to type into a shell."""

    text: str


Block = Heading | Paragraph | Note | Items | Table | Pictures | Command


@dataclass(frozen=True)
class Document:
    """A whole report."""

    date: str
    """`YYYY-MM-DD HH:MM:SS`, in UTC."""
    tags: tuple[str, ...]
    title: str
    blocks: tuple[Block, ...]
