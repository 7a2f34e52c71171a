"""Images on demand: what the page asks for, checked and within limits, drawn step by step."""

from __future__ import annotations

import shlex
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from triptych.errors import UserError
from triptych.page.shelf import Shelf
from triptych.record.alike import check_alike
from triptych.record.animation import Film
from triptych.record.pictures import class_grid, grid
from triptych.record.side_by_side import Block, side_by_side

if TYPE_CHECKING:
    from torch import Tensor

    from triptych.generation import Request
    from triptych.models import Model
    from triptych.runs import Run

MOST_IMAGES = 64
MOST_STEPS = 1000
MOST_MODELS = 6
"""Side by side."""
KEPT_MODELS = 4
"""Opened models that are kept for the next request."""
HIGHEST_SCALE = 20.0
LARGEST_SEED = 2**32 - 1
MOST_CLASSES = 1000
PAUSE = 0.25
"""Seconds between two looks at images that are being drawn."""


def typed(number: float) -> str:
    """Return a number as it is typed: `2`, or with as many digits as it has."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


@dataclass(frozen=True)
class Order:
    """What images to draw, as it was filled in."""

    run: str
    checkpoint: str = "last"
    sampler: str = "ddim"
    steps: int = 50
    scale: float = 1.0
    above: float = 0.0
    below: float = 0.0
    """0: no bound."""
    classes: tuple[str, ...] = ()
    """Names; empty: all."""
    seed: int = 0
    count: int = 16

    def __post_init__(self) -> None:
        """Raise `UserError` where something is of another kind, or beyond what the page draws."""
        names = (self.run, self.checkpoint, self.sampler, *self.classes)
        if not all(isinstance(name, str) for name in names) or len(self.classes) > MOST_CLASSES:
            raise UserError("what was filled in", "it is of another kind", "choose from the lists")
        if not self.run:
            raise UserError("drawing", "no run is chosen", "choose one that has checkpoints")
        for what, value, most in (
            ("images", self.count, MOST_IMAGES),
            ("steps", self.steps, MOST_STEPS),
            ("guidance scale", self.scale, HIGHEST_SCALE),
            ("guided above", self.above, LARGEST_SEED),
            ("guided up to", self.below, LARGEST_SEED),
            ("seed", self.seed, LARGEST_SEED),
        ):
            least = 1 if what in ("images", "steps") else 0
            if not isinstance(value, int | float) or not least <= value <= most:
                raise UserError(f"{what} {value}", "out of range", f"choose {least} to {most:,}")

    @property
    def guide(self) -> str:
        """How it is guided: `cfg,above=0.2,below=3`."""
        bounds = [f"above={typed(self.above)}"] if self.above else []
        bounds += [f"below={typed(self.below)}"] if self.below else []
        return ",".join(["cfg", *bounds])

    @property
    def caption(self) -> str:
        """What stands above the film."""
        return f"{self.run}, {self.checkpoint}, {self.sampler}:{self.steps}, seed {self.seed}"

    def command(self, runs: Path, classes: int) -> str:
        """Return what is typed to draw the same, of a model of `classes` classes (0: unconditional)."""
        parts = ["triptych", "sample", str(runs / self.run), "--checkpoint", self.checkpoint]
        parts += ["--sampler", f"{self.sampler}:{self.steps}"]
        shown = classes > 0 and self.scale > 0
        parts += ["--guidance", typed(self.scale)] if classes else []
        parts += ["--guide", self.guide] if self.guide != "cfg" and self.scale > 1 and classes else []
        parts += ["--classes", *self.classes] if self.classes and shown else []
        each, rest = divmod(self.count, len(self.classes) or classes or 1)
        number = ["--per-class", str(each)] if shown and not rest else ["--count", str(self.count)]
        return shlex.join([*parts, "--seed", str(self.seed), *number, "--gif"])


@dataclass(frozen=True)
class Moment:
    """How far images are: after so many steps, with a picture of them, the last one with all there is."""

    step: int
    steps: int
    picture: Image.Image | None = None
    calls: int = 0
    seconds: float = 0.0
    film: Film | None = None
    """Of the whole way, at its end."""


class Studio:
    """Draws images from the runs of a shelf; one request at a time."""

    def __init__(self, shelf: Shelf, device: str | None = None):
        self.shelf = shelf
        self.device = device
        self._models: OrderedDict[tuple, tuple[Run, Model]] = OrderedDict()
        self._busy = Lock()

    def command(self, order: Order, runs: Path) -> str:
        """Return what is typed to draw an order's images; UserError where it cannot be met."""
        with self._busy:
            _, model, _ = self._opened(order)
        return order.command(runs, model.denoiser.backbone.classes)

    def draw(self, order: Order) -> Iterator[Moment]:
        """Yield moments of the drawing; whoever closes the iterator stops it.

        Raises:
            UserError: the order cannot be met.
        """
        with self._busy:
            yield from self._drawn(order)

    def _drawn(self, order: Order) -> Iterator[Moment]:
        run, model, request = self._opened(order)
        film, start, looked = Film(request.sampler.steps + 1), time.perf_counter(), 0.0
        steps, shot = request.sampler.steps, None
        for shot in _shots(model, request):
            film.add(shot.x, shot.x0)
            if shot.step < steps and time.perf_counter() - looked > PAUSE:
                looked = time.perf_counter()
                yield Moment(shot.step, steps, _grid(shot.x0, shot.labels, run, request))
        assert shot is not None, "there is no sampler without steps"
        seconds = time.perf_counter() - start
        caption = f"{run.experiment.name}, {model.title}, {request.caption}"
        picture = _grid(shot.x, shot.labels, run, request, caption)
        yield Moment(steps, steps, picture, shot.calls, seconds, film)

    def side_by_side(self, orders: Sequence[Order]) -> Iterator[tuple[int, Moment]]:
        """Yield moments of several drawings of the same noise, each with the number of drawings done.

        The last has one picture of them all.

        Raises:
            UserError: there are too many, they are not of the same images, or one cannot be met.
        """
        if not 1 <= len(orders) <= MOST_MODELS:
            asked = f"{len(orders)} checkpoints side by side"
            raise UserError(asked, "out of range", f"choose 1 to {MOST_MODELS}")
        with self._busy:
            yield from self._side_by_side(orders)

    def _side_by_side(self, orders: Sequence[Order]) -> Iterator[tuple[int, Moment]]:
        opened = [self._opened(order) for order in orders]
        first = self.shelf.run(orders[0].run).origin
        for one in orders[1:]:
            asked = f"{orders[0].run} beside {one.run}"
            check_alike(first, self.shelf.run(one.run).origin, asked, classless=one.scale == 0)
        blocks, start, steps = [], time.perf_counter(), opened[0][2].sampler.steps
        several = len({run.folder for run, _, _ in opened}) > 1
        calls = 0
        for done, (run, model, request) in enumerate(opened):
            shot = None
            for shot in _shots(model, request):
                yield done, Moment(shot.step, steps)
            assert shot is not None, "there is no sampler without steps"
            name = f"{run.folder.name}, {model.checkpoint}" if several else model.checkpoint
            blocks.append(Block(shot.x, name))
            calls += shot.calls
        picture = side_by_side(blocks, caption=opened[0][2].caption)
        yield len(opened), Moment(steps, steps, picture, calls, time.perf_counter() - start)

    def _opened(self, order: Order) -> tuple[Run, Model, Request]:
        from triptych.runs import Run

        folder = self.shelf.folder(order.run)
        if order.checkpoint not in self.shelf.checkpoints(order.run):
            found = f"no checkpoint {order.checkpoint[:80]!r}" if order.checkpoint else "no checkpoint chosen"
            raise UserError(f"run {order.run}", found, "choose one of the list")
        key = (order.run, order.checkpoint, self.shelf.stamp(order.run))
        if key not in self._models:
            run = Run(folder)
            self._models[key] = run, run.model(order.checkpoint, device=self.device)
            while len(self._models) > KEPT_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        run, model = self._models[key]
        conditional = model.denoiser.backbone.classes > 0
        known = run.class_names
        for name in order.classes:
            if name not in known:
                raise UserError(
                    f"class {name[:80]!r}", "there is none of this name", "choose one of the list"
                )
        shown = conditional and order.scale > 0
        request = run.request(
            model,
            count=order.count,
            guidance=order.scale if conditional else 0.0,
            sampler=f"{order.sampler}:{order.steps}",
            seed=order.seed,
            batch_size=order.count,
            classes=[known.index(name) for name in order.classes] if shown else (),
            guide=order.guide,
        )
        return run, model, request


class _Shot(NamedTuple):
    """All images after a step, on the host: x_t and the predicted x_0, uint8 [N, C, H, W]; 0 is noise."""

    step: int
    x: Tensor
    x0: Tensor
    labels: Tensor | None
    calls: int


def _shots(model: Model, request: Request) -> Iterator[_Shot]:
    """Yield the images of a request, all in one batch, after every step."""
    import torch

    from triptych.generation import steps_of
    from triptych.images import to_pixels

    index = torch.arange(request.count, device=model.device)
    guided, steps, x = steps_of(model.denoiser, request, index)
    labels = request.labels(index, model.denoiser.backbone.classes)
    labels = None if labels is None else labels.cpu()
    for step in steps:
        x0 = to_pixels(step.x0).cpu()
        if step.i == 0:
            yield _Shot(0, to_pixels(x).cpu(), x0, labels, 0)
        yield _Shot(step.i + 1, to_pixels(step.x).cpu(), x0, labels, guided.calls)


def _grid(
    pixels: Tensor, labels: Tensor | None, run: Run, request: Request, caption: str = ""
) -> Image.Image:
    """Return images as a picture: a row for each class where each has equally many."""
    classes = len(request.classes or run.class_names)
    if labels is not None and request.guidance > 0 and request.count % classes == 0:
        return class_grid(pixels, labels, run.class_names, caption=caption)
    return grid(pixels, caption=caption)
