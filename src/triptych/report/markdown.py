"""Documents as Markdown in the dialect of GitHub, with a little HTML where it has no word for pictures."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import quote

from triptych.report.document import (
    Block,
    Cell,
    Command,
    Document,
    Heading,
    Items,
    Note,
    Paragraph,
    Pictures,
    Strong,
    Table,
)

SPECIAL = re.compile(r"([\\`*<>\[\]$~&]|(?<![^\W_])_|_(?![^\W_]))")
"""What Markdown or its formulas would take for markup; an underscore only at a word's edge."""
BEGINNING = "---\n# triptych report\n"
"""Of every report, by which it is known again: the remark is one of YAML."""
PLAIN_TAG = re.compile(r"[A-Za-z][\w-]*")


def markdown(document: Document) -> str:
    """Return the document as Markdown; the same document always gives the same text."""
    tags = "\n".join(f"  - {tag if PLAIN_TAG.fullmatch(tag) else json.dumps(tag)}" for tag in document.tags)
    front = f"{BEGINNING}date: {document.date}\ntags:\n{tags}\n---"
    blocks = [front, f"# {escape(document.title)}", *(_block(block) for block in document.blocks)]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Return plain text with whatever Markdown would misread escaped, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {escape(text)}"
        case Paragraph(text):
            return escape(text)
        case Note(text):
            return f"> {escape(text)}"
        case Items(items):
            return "\n".join(f"- {escape(item)}" for item in items)
        case Table(columns, rows):
            lines = [_line(columns), _line(("---",) * len(columns)), *(_line(row) for row in rows)]
            return "\n".join(lines)
        case Pictures():
            return _pictures(block)
        case Command(text):
            return f"```sh\n{text}\n```"


def _line(cells: tuple[Cell, ...]) -> str:
    texts = [f"**{escape(cell.text)}**" if isinstance(cell, Strong) else escape(cell) for cell in cells]
    texts = [text.replace("|", "\\|") for text in texts]
    return f"| {' | '.join(texts)} |"


def _pictures(block: Pictures) -> str:
    images = [
        f'  <img src="{quote(picture.path)}" alt="{html.escape(picture.caption)}" width="{block.width}" />'
        for picture in block.pictures
    ]
    style = "display: flex; justify-content: center; gap: 20px;"
    return "\n".join([f'<div align="center" style="{style}">', *images, "</div>"])
