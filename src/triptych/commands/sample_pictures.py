"""Drawing the images that `triptych sample` asks for, and writing them as pictures."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from triptych.commands.writing import writing_to
from triptych.evaluation.weights import USUAL
from triptych.generation import Request, generate
from triptych.guidance import PLAIN
from triptych.models import Model
from triptych.record.animation import Film
from triptych.record.environment import describe_device
from triptych.record.events import Sampled
from triptych.record.pictures import class_grid, grid, save_png
from triptych.runs import Run

NOT_IN_FILE_NAMES = frozenset('/\\:*?"<>|')
"""On one system or another, beside what cannot be printed."""
LONGEST_PART = 200
"""Bytes of a name of a class that a file's name holds; a whole one may take 255."""


@dataclass(frozen=True)
class Pictures:
    """Which pictures to write, and where."""

    by_class: bool
    """One named row for each class, or else all images in one nearly square grid."""
    gif: bool
    singles: bool
    out: Path | None
    """Folder; None: one under the run's samples/ whose name tells what was drawn."""
    among_several: bool = False
    """Whether `out` gets a folder of such a name as well, because more than these are drawn."""


@dataclass(frozen=True)
class Written:
    """What was written of one run's images, and what it took."""

    run: str
    grid: str
    gif: str | None
    singles: str | None
    count: int
    network_calls: int
    seconds: float
    side_by_side: str | None = None
    """The picture that shows them beside those of other runs."""


@dataclass(frozen=True)
class Drawn:
    """Finished images on the host: uint8 [N, C, H, W], their classes int64 [N], and what they took."""

    pixels: Tensor
    labels: Tensor
    calls: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What one run drew, what was written of it, and the event that is to be recorded of it."""

    drawn: Drawn
    written: Written
    event: Sampled


def draw(run: Run, model: Model, request: Request, pictures: Pictures, *, silent: bool) -> Outcome:
    """Draw the images of `request` and write the pictures that are wanted; nothing is recorded yet."""
    names = run.class_names
    per_class = rows_of(request, names) if pictures.by_class else None
    name = folder_name(model.checkpoint, model.weights, request, per_class)
    folder = run.folder / "samples" / name
    if pictures.out is not None:
        folder = pictures.out / name if pictures.among_several else pictures.out
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)  # told before the images have cost an hour
    film = Film(request.sampler.steps + 1) if pictures.gif else None
    drawn = draw_images(model, request, film, silent=silent)

    told = request.shows_classes(model.denoiser.backbone.classes)
    title = f"{run.experiment.name}, {model.title}, {request.caption}"
    if pictures.by_class:
        picture = class_grid(drawn.pixels, drawn.labels, names, caption=title)
    else:
        picture = grid(drawn.pixels, caption=title)
    with writing_to(folder):
        save_png(picture, folder / "grid.png")
        if film is not None:
            film.save(folder / "denoising.gif", title=title)
        if pictures.singles:
            write_singles(drawn, names if told else None, folder / "images")
    sampled = Sampled(
        epoch=model.epoch,
        checkpoint=model.checkpoint,
        weights=model.weights,
        sampler=request.sampler.label,
        guidance=request.guidance,
        clip=request.sampler.clip,
        seed=request.seed,
        count=request.count,
        per_class=per_class,
        grid=relative(folder / "grid.png", run.folder),
        gif=relative(folder / "denoising.gif", run.folder) if film else None,
        network_calls=drawn.calls,
        took=drawn.seconds,
        device=describe_device(model.device),
        precision=model.denoiser.precision,
        guide=request.guide.label,
        weak_digest=request.weak_digest,
    )
    written = Written(
        run=str(run.folder),
        grid=str(folder / "grid.png"),
        gif=str(folder / "denoising.gif") if film else None,
        singles=str(folder / "images") if pictures.singles else None,
        count=request.count,
        network_calls=drawn.calls,
        seconds=drawn.seconds,
    )
    return Outcome(drawn, written, sampled)


def record(run: Run, model: Model, outcome: Outcome, shared: Path | None) -> Written:
    """Record what a run drew, with the picture that it shares with others, and return what was written."""
    event, written = outcome.event, outcome.written
    if shared is not None:
        event = replace(event, side_by_side=relative(shared, run.folder))
        written = replace(written, side_by_side=str(shared))
    run.record.append(event, model.step, model.attempt)
    return written


def rows_of(request: Request, class_names: Sequence[str]) -> int:
    """Return the images of each class that a request draws."""
    return request.count // len(request.classes or class_names)


def draw_images(model: Model, request: Request, film: Film | None, *, silent: bool) -> Drawn:
    """Draw all images of a request, with a bar for their number unless `silent`."""
    watch = None if film is None else lambda frame: film.add(frame.x, frame.x0)
    start = time.perf_counter()
    pixels, labels, calls = [], [], 0
    with tqdm(total=request.count, unit="image", disable=silent or not sys.stderr.isatty()) as bar:
        for batch in generate(model.denoiser, request, watch):
            pixels.append(batch.pixels.cpu())
            labels.append(batch.labels.cpu())
            calls = batch.calls
            bar.update(len(batch.pixels))
    return Drawn(torch.cat(pixels), torch.cat(labels), calls, time.perf_counter() - start)


def folder_name(checkpoint: str, weights: str, request: Request, per_class: int | None) -> str:
    """Return a folder name that tells apart whatever gives different images or another layout."""
    sampler, guide = (
        in_file_name(part.label).translate(str.maketrans(",=", "--"))
        for part in (request.sampler, request.guide)
    )
    parts = [checkpoint, *([] if weights == USUAL else [weights]), sampler]
    parts += [] if request.sampler.clip else ["unclipped"]
    parts += [f"scale-{request.guidance:g}", *([] if request.guide == PLAIN else [guide])]
    parts += [f"seed-{request.seed}", f"n-{request.count}" if per_class is None else f"{per_class}-per-class"]
    parts += ["classes-" + "-".join(map(str, request.classes))] if request.classes else []
    return "-".join(parts)


def relative(path: Path, folder: Path) -> str:
    """Return `path` relative to the run's folder, through `..` where it lies outside, links followed."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def write_singles(drawn: Drawn, names: Sequence[str] | None, folder: Path) -> None:
    """Write every image in its own size as `00000-class.png`, or `00000.png` where they have no class.

    Of a class's name, what no file's name may hold becomes a dash.
    """
    endings = [f"-{in_file_name(name)}" for name in names] if names else []
    folder.mkdir(parents=True, exist_ok=True)
    for j, (image, label) in enumerate(zip(drawn.pixels.numpy(), drawn.labels.tolist(), strict=True)):
        picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        picture.save(folder / f"{j:05d}{endings[label] if endings else ''}.png")


def in_file_name(text: str) -> str:
    """Return a text as part of a file's name, on any system: a dash for what such a name may not hold."""
    allowed = "".join(c if c.isprintable() and c not in NOT_IN_FILE_NAMES else "-" for c in text)
    return allowed.encode()[:LONGEST_PART].decode(errors="ignore")  # the limit is one of bytes
