"""Markdown says what the document says: text comes through unread as markup, tables keep their cells."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.report.document import (
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
from triptych.report.markdown import escape, markdown


def page(*blocks) -> str:
    return markdown(Document("2025-12-22 10:35:00", ("cifar10", "a: b"), "Title", blocks))


def unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def cells(line: str) -> list[str]:
    """Split a line of a table at its unescaped bars."""
    return [cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]]


def test_front_matter_and_title():
    assert page().startswith(
        '---\n# triptych report\ndate: 2025-12-22 10:35:00\ntags:\n  - cifar10\n  - "a: b"\n---\n\n# Title\n'
    )


def test_blocks():
    text = page(
        Heading(3, "1.2.1 Training"), Paragraph("So."), Note("But."), Items(("a", "b")), Command("make demo")
    )
    for expected in ("### 1.2.1 Training", "\nSo.\n", "> But.", "- a\n- b", "```sh\nmake demo\n```"):
        assert expected in text


@given(st.text())
def test_escaped_text_reads_back(text):
    assert unescape(escape(text)) == " ".join(text.split())


@pytest.mark.parametrize("text", ["a*b*", "_a_", "<b>", "[x](y)", "`c`", "$x$", "~~y~~", "&amp;"])
def test_markup_in_text_is_escaped(text):
    assert re.search(r"(?<!\\)[*<\[\]`$~&]|(?<![\\\w])_", escape(text)) is None


def test_underscores_inside_words_are_left_readable():
    assert escape("snake_case_name") == "snake_case_name"


@given(
    st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\\")), min_size=1, max_size=4)
)
def test_tables_keep_their_cells_whatever_is_in_them(row):
    text = page(Table(tuple("abcd"[: len(row)]), (tuple(row),)))
    line = text.rstrip("\n").split("\n")[-1]
    assert [unescape(cell) for cell in cells(line)] == [" ".join(cell.split()) for cell in row]


def test_strong_cells_and_ragged_rows():
    assert "| **8.1** | x |" in page(Table(("a", "b"), ((Strong("8.1"), "x"),)))
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        Table(("a", "b"), (("x",),))


def test_pictures_are_quoted_for_urls_and_for_html():
    text = page(Pictures((Picture('runs/my run/50% "a".png', 'x < "y"'),), 260))
    assert 'src="runs/my%20run/50%25%20%22a%22.png"' in text
    assert html.escape('x < "y"') in text
    assert 'width="260"' in text
    assert '<div align="center"' in text
