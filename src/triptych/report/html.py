"""Documents as one HTML file that needs nothing beside it: pictures, style and contents are inside."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files

from triptych.record.picture_files import kind_of
from triptych.report.document import (
    Block,
    Cell,
    Command,
    Document,
    Heading,
    Items,
    Note,
    Paragraph,
    Picture,
    Pictures,
    Strong,
    Table,
)
from triptych.report.language import Language

Pixels = Callable[[str], bytes | None]
"""The file of a picture by its path from the report's folder on; None where there is none."""

BEGINNING = "<!doctype html>\n<!-- triptych report -->\n"
"""Of every page, by which it is known again."""
CONTENTS_DEPTH = 2


def html(document: Document, words: Language, pixels: Pixels, refresh: int = 0) -> str:
    """Return the document as HTML; the same document and pictures always give the same text.

    Args:
        document: what to show.
        words: its language.
        pixels: reads pictures.
        refresh: seconds after which a browser is to load it again; 0: never.
    """
    style = files("triptych.report").joinpath("page.css").read_text(encoding="utf-8")
    reload = f'<meta http-equiv="refresh" content="{refresh}">\n' if refresh else ""
    title = escape(document.title)
    blocks = fragment(document.blocks, words, pixels)
    tags = " ".join(f"<li>{escape(tag)}</li>" for tag in document.tags)
    return (
        f'{BEGINNING}<html lang="{words("html_language")}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{reload}'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{title}</h1>\n"
        f"<p><time>{escape(document.date)}</time> UTC</p>\n<ul class=tags>{tags}</ul>\n</header>\n"
        f"{_contents(document, words)}\n<main>\n{blocks}\n</main>\n</body>\n</html>\n"
    )


def fragment(blocks: Sequence[Block], words: Language, pixels: Pixels) -> str:
    """Return blocks as HTML that stands in a page of another's making; arguments as of `html`."""
    return "\n".join(_block(block, words, pixels) for block in blocks)


def _contents(document: Document, words: Language) -> str:
    """Return links to chapters and models, which stand beside the text where there is room."""
    headings = [block for block in document.blocks if isinstance(block, Heading)]
    links = "\n".join(
        f'<li class="level-{heading.level}"><a href="#{_anchor(heading)}">{escape(heading.text)}</a></li>'
        for heading in headings
        if heading.level <= CONTENTS_DEPTH
    )
    title = words("contents")
    return f"<nav>\n<details open>\n<summary>{title}</summary>\n<ol>\n{links}\n</ol>\n</details>\n</nav>"


def _anchor(heading: Heading) -> str:
    """Return the name of a heading's place: its number, which no other has."""
    return f"section-{heading.text.split()[0].rstrip('.')}"


def _block(block: Block, words: Language, pixels: Pixels) -> str:
    match block:
        case Heading(level, text):
            tag = f"h{level + 1}"
            return f'<{tag} id="{escape(_anchor(block))}">{escape(text)}</{tag}>'
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Note(text):
            return f"<aside>{escape(text)}</aside>"
        case Items(items):
            return "<ul>\n" + "\n".join(f"<li>{escape(item)}</li>" for item in items) + "\n</ul>"
        case Table():
            return _table(block)
        case Pictures(pictures, width):
            shown = "\n".join(_picture(picture, width, words, pixels) for picture in pictures)
            return f"<div class=pictures>\n{shown}\n</div>"
        case Command(text):
            return f"<pre><code>{escape(text)}</code></pre>"


def _table(table: Table) -> str:
    head = "".join(f"<th scope=col>{escape(column)}</th>" for column in table.columns)
    rows = "\n".join(f"<tr>{_cells(row)}</tr>" for row in table.rows)
    return (
        "<div class=table tabindex=0>\n<table>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def _cells(row: Sequence[Cell]) -> str:
    cells = []
    for cell in row:
        text = cell.text if isinstance(cell, Strong) else cell
        number = ' class="number"' if text[:1].isdigit() or text == "–" else ""
        inner = escape(re.sub(" (?=±|≈)|(?<=±) ", "\u00a0", text))  # an error stays beside its figure
        inner = f"<strong>{inner}</strong>" if isinstance(cell, Strong) else inner
        cells.append(f"<td{number}>{inner}</td>")
    return "".join(cells)


def _picture(picture: Picture, width: int, words: Language, pixels: Pixels) -> str:
    data = pixels(picture.path)
    kind = None if data is None else kind_of(data)
    if data is None or kind is None:
        missing = words("picture_missing", path=picture.path)
        return f"<p class=missing>{escape(missing)}</p>"
    inline = base64.b64encode(data).decode("ascii")
    caption = escape(picture.caption)
    return f'<img src="data:{kind};base64,{inline}" alt="{caption}" title="{caption}" width="{width}">'
