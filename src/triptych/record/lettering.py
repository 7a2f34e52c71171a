"""Text inside pictures, in the one scalable font that Pillow carries, so that every machine draws it alike.

The font knows ASCII and little more. Letters that it lacks are replaced by what they are made of
(`é` by `e`, `₀` by `0`), a few signs by their usual ASCII spelling, and the rest by `?`.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

SPELLINGS = {"×": "x", "→": "->", "–": "-", "—": "-", "−": "-", "’": "'", "“": '"', "”": '"', "ß": "ss"}
MISSING_GLYPH = (
    "\ufffe"  # a code point that no font draws: what it looks like is what a missing glyph looks like
)


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font at `size` pixels."""
    loaded = ImageFont.load_default(size=size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise RuntimeError("this build of Pillow has no FreeType, which every published wheel has")
    return loaded


@functools.cache
def _is_drawable(character: str) -> bool:
    def drawn(text: str) -> bytes:
        canvas = Image.new("L", (32, 32))
        ImageDraw.Draw(canvas).text((4, 4), text, fill=255, font=font(16))
        return canvas.tobytes()

    return character == " " or (character.isprintable() and drawn(character) != drawn(MISSING_GLYPH))


def drawable(text: str) -> str:
    """Return `text` with every character that the font lacks replaced; never longer than readable."""
    replaced = []
    for character in text:
        if _is_drawable(character):
            replaced.append(character)
        elif character in SPELLINGS:
            replaced.append(SPELLINGS[character])
        elif character.isspace():
            replaced.append(" ")
        else:
            parts = [
                part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)
            ]
            replaced.append("".join(part if _is_drawable(part) else "?" for part in parts))
    return "".join(replaced)


def is_spelt(text: str) -> bool:
    """Whether the font can write `text` so that it is still read: nothing of it would be `?`, or be lost."""
    written = drawable(text)
    return bool(written.strip()) and written.count("?") == text.count("?")


def class_labels(names: Sequence[str]) -> list[str]:
    """Return what each class is called in a picture: by name, or `class 4` where the font cannot write it."""
    return [name if is_spelt(name) else f"class {label}" for label, name in enumerate(names)]


def width(text: str, size: int) -> int:
    """Return the width of `text` in pixels, rounded up."""
    return int(font(size).getlength(drawable(text)) + 0.999)


def shorten(text: str, size: int, limit: int) -> str:
    """Return `text`, cut and ended with `...` where it is wider than `limit` pixels."""
    text = drawable(text)
    if width(text, size) <= limit:
        return text
    while text and width(text + "...", size) > limit:
        text = text[:-1]
    return text.rstrip() + "..."


def wrap(text: str, size: int, limit: int) -> list[str]:
    """Return `text` in lines of up to `limit` pixels, broken between words, and a longer word within it."""
    lines: list[str] = []
    for word in drawable(text).split():
        if lines and width(f"{lines[-1]} {word}", size) <= limit:
            lines[-1] += f" {word}"
        else:
            lines += broken(word, size, limit)
    return lines


def broken(word: str, size: int, limit: int) -> list[str]:
    """Return a word in pieces of up to `limit` pixels, broken behind one of `-_/,`, or else anywhere."""
    pieces, rest = [], word
    while len(rest) > 1 and width(rest, size) > limit:
        fitting = max(n for n in range(1, len(rest)) if n == 1 or width(rest[:n], size) <= limit)
        end = max(rest.rfind(sign, 0, fitting) for sign in "-_/,") + 1 or fitting
        pieces.append(rest[:end])
        rest = rest[end:]
    return [*pieces, rest]


def write(
    image: Image.Image, at: tuple[float, float], text: str, size: int, shade: int, anchor: str = "la"
) -> None:
    """Draw `text` in a grey of `shade` (0 black) at `at`, which `anchor` (as Pillow's) refers to."""
    fill = shade if image.mode == "L" else (shade,) * 3
    ImageDraw.Draw(image).text(at, drawable(text), fill=fill, font=font(size), anchor=anchor)
