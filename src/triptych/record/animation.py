"""Denoising as a GIF: the noisy images x_t beside the clean images predicted from them, step by step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sized
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from triptych.record import lettering
from triptych.record.pictures import (
    GROUND,
    INK,
    LABEL_SIZE,
    MARGIN,
    PALE_INK,
    Layout,
    as_array,
    is_tiny,
    lay_out,
    paste,
)

MOST_FRAMES = 32
MOST_IMAGES = 10
"""Noise does not compress: every image adds its own pixels to every frame."""
PANEL_GAP = 20
NARROWEST = 280
"""Pixels of width that the lettering and the bar need."""
BAR_HEIGHT = 4
BAR_GROUND = 225
UI_SHADES = 16
"""Palette entries kept for ground and lettering, where the others are the images' own colours."""
GREYS = 32
"""Shades of grey images: few make long repeats and so small files, and more would hardly be seen."""


class Film:
    """Evenly spaced moments of a denoising of `total` frames, collected as they come and written as a GIF.

    Only the moments that the GIF shows are kept, of the first `images` images, so that a denoising of 1,000
    steps needs no more memory than one of 30. The first and the last frame are always among them.
    """

    def __init__(self, total: int, *, most: int = MOST_FRAMES, images: int = MOST_IMAGES):
        self.total, self.images = total, images
        count = min(total, max(2, most))
        self._wanted = {round(i * (total - 1) / max(1, count - 1)) for i in range(count)}
        self._seen = 0
        self._frames: list[tuple[int, np.ndarray, np.ndarray]] = []

    def add(self, x_t: Any, x0: Any) -> None:
        """Take the next frame: two times uint8 [N, C, H, W], numpy or torch."""
        if self._seen in self._wanted:
            noisy, clean = as_array(x_t[: self.images]), as_array(x0[: self.images])
            self._frames.append((self._seen, noisy.copy(), clean.copy()))
        self._seen += 1

    def save(self, path: Path, *, title: str = "", columns: int | None = None, hold: float = 2.0) -> None:
        """Write the GIF: about four seconds, the last frame held for `hold` more, endlessly repeated.

        `path` is absent, old or complete at any moment; missing folders are made. ValueError without frames.
        """
        if not self._frames:
            raise ValueError("a GIF needs at least one frame")
        steps = max(self.total, self._seen) - 1
        stage = _Stage(self._frames, columns, title)
        pictures = [stage.draw(i, steps, noisy, clean) for i, noisy, clean in self._frames]
        pace = int(min(200, max(50, 4000 / len(pictures)))) // 10 * 10  # GIF counts in hundredths of a second
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.writing")
        try:
            pictures[0].save(
                aside,
                format="GIF",
                save_all=True,
                append_images=pictures[1:],
                duration=[pace] * (len(pictures) - 1) + [int(hold * 1000)],
                loop=0,
                optimize=False,
            )
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def gif(
    frames: Iterable[tuple[Any, Any]],
    path: Path,
    *,
    title: str = "",
    columns: int | None = None,
    images: int = MOST_IMAGES,
    most: int = MOST_FRAMES,
    hold: float = 2.0,
) -> None:
    """Write a denoising, given as (x_t, x0) pairs of uint8 [N, C, H, W], as a GIF; see `Film`.

    Frames of unknown number are collected first, all of them.
    """
    known = frames if isinstance(frames, Sized) else list(frames)
    film = Film(len(known), most=most, images=images)
    for x_t, x0 in known:
        film.add(x_t, x0)
    film.save(path, title=title, columns=columns, hold=hold)


class _Stage:
    """The ground that all frames of one GIF share: layout, lettering and palette."""

    def __init__(self, frames: list[tuple[int, np.ndarray, np.ndarray]], columns: int | None, title: str):
        shape = frames[0][1].shape
        cell = 48 if shape[1] == 1 else 64
        self.left = lay_out(shape, columns, column_labels=("x_t",), title=title, cell=cell)
        offset = self.left.right - self.left.left + PANEL_GAP
        self.right = Layout(**{**vars(self.left), "left": self.left.left + offset})
        self.width = max(self.right.right + MARGIN, NARROWEST)
        self.height = self.right.bottom + 10 + LABEL_SIZE + 6 + MARGIN
        self.colour = shape[1] == 3
        self.palette = _palette(frames) if self.colour else None
        self.ground = Image.new("L", (self.width, self.height), GROUND)
        top = self.left.top - 6
        for layout, name in ((self.left, "x_t"), (self.right, "predicted x0")):
            lettering.write(self.ground, (layout.left, top), name, LABEL_SIZE, INK, "ls")
        if title:
            text = lettering.shorten(title, LABEL_SIZE + 2, self.width - 2 * MARGIN)
            lettering.write(self.ground, (MARGIN, MARGIN), text, LABEL_SIZE + 2, INK)

    def draw(self, i: int, steps: int, noisy: np.ndarray, clean: np.ndarray) -> Image.Image:
        """Return frame `i` of steps 0 to `steps`, with its bar."""
        canvas = self.ground.copy()
        text = f"step {i} of {steps}"
        room = lettering.width(f"step {steps} of {steps}", LABEL_SIZE) + 10
        baseline = self.right.bottom + 10 + LABEL_SIZE
        lettering.write(canvas, (MARGIN, baseline), text, LABEL_SIZE, PALE_INK, "ls")
        start, end = MARGIN + room, self.width - MARGIN
        reached = start + round((end - start) * (i / steps if steps else 1.0))
        top = baseline - LABEL_SIZE // 2
        pencil = ImageDraw.Draw(canvas)
        pencil.rectangle((start, top, end - 1, top + BAR_HEIGHT - 1), fill=BAR_GROUND)
        if reached > start:
            pencil.rectangle((start, top, reached - 1, top + BAR_HEIGHT - 1), fill=PALE_INK)
        return self._fill(np.array(canvas), noisy, clean)

    def _fill(self, shades: np.ndarray, noisy: np.ndarray, clean: np.ndarray) -> Image.Image:
        """Put the images in: grey ones as they are, colours as entries of the one palette."""
        if self.palette is None:
            for images, layout in ((noisy, self.left), (clean, self.right)):
                paste(shades, images[:, 0], layout, smooth=is_tiny(images), greys=GREYS)
            return Image.fromarray(shades)
        entries = (shades.astype(np.uint16) * (UI_SHADES - 1) // GROUND + 256 - UI_SHADES).astype(np.uint8)
        for images, layout in ((noisy, self.left), (clean, self.right)):
            paste(entries, _nearest(images, self.palette), layout)
        picture = Image.frombytes("P", entries.shape[::-1], entries.tobytes())
        picture.putpalette(self.palette.getpalette() or [])
        return picture


def _strip(images: np.ndarray) -> Image.Image:
    """All images [N, 3, H, W] under one another, as one picture."""
    return Image.fromarray(images.transpose(0, 2, 3, 1).reshape(-1, images.shape[3], 3))


def _nearest(images: np.ndarray, palette: Image.Image) -> np.ndarray:
    """Palette entries uint8 [N, H, W] of images [N, 3, H, W]; undithered, for dots would look like noise."""
    entries = np.array(_strip(images).quantize(palette=palette, dither=Image.Dither.NONE))
    return entries.reshape(len(images), *images.shape[2:])


def _palette(frames: list[tuple[int, np.ndarray, np.ndarray]]) -> Image.Image:
    """256 colours for all frames: of the finished images above all, some of the way there, and greys."""
    finished, halfway, start = frames[-1][2], frames[len(frames) // 2], frames[0][1]
    sample = np.concatenate([finished, finished, halfway[2], halfway[1][::2], start[::4]])
    colours = _strip(sample).quantize(256 - UI_SHADES, method=Image.Quantize.MEDIANCUT).getpalette() or []
    colours = (colours + [0] * 768)[: 3 * (256 - UI_SHADES)]
    greys = [round(i * GROUND / (UI_SHADES - 1)) for i in range(UI_SHADES) for _ in range(3)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours + greys)
    return palette
