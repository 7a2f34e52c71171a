"""`triptych evaluate` and `triptych sample` from end to end, against the drawing and the features in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.cases.whole_run import OWN_ALLOCATOR
from benchmarks.comparison import Call, Case, Comparison, Variant
from benchmarks.work import folder
from triptych.cli import main
from triptych.commands.bench import BenchOptions
from triptych.evaluation.drawing import features_of
from triptych.evaluation.judge import Judge
from triptych.generation import Request, generate
from triptych.runs import Run
from triptych.sampling import named_sampler

BASE, EVALUATE, SAMPLE = "drawing alone", "triptych evaluate", "triptych sample"
FEATURES = "drawing and features"
RECIPE = "digits-unet"
SCALE = 1.25
COUNT, FEW = 1000, 80
ROUNDS = 6
QUIETLY = ("--quiet", "--device", "cpu")


Make = Callable[[Path, Request], Call]
"""Makes the work from the folder of a run and the images that are asked for."""


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return two comparisons, of guided images of the digits' recipe."""
    count, few, steps = (40, 20, 2) if options.quick else (COUNT, FEW, 50)
    width = ["--backbone.width", "8"] if options.quick else []
    batch = options.batch or 256

    def own(make: Make, images: int) -> Variant:
        request = Request(images, SCALE, named_sampler(f"ddim:{steps}"), batch_size=min(batch, images))
        # Training, and so what precedes either, has freed memory kept.
        return Variant(OWN_ALLOCATOR if options.plain_allocator else lambda: of_run(make, request, width))

    def against(base: str, alone: Make, command: str, whole: Make, images: int, what: str) -> Comparison:
        title = f"{images:,} images by ddim:{steps}, {what}"
        variants = {base: own(alone, images), command: own(whole, images)}
        return Comparison(title, 0, min(batch, images), base, variants, ROUNDS, weighed=False)

    return [
        against(FEATURES, drawn_and_seen, EVALUATE, evaluated, count, "evaluated"),
        against(BASE, drawn, SAMPLE, sampled, few, "as a grid"),
    ]


def of_run(make: Make, request: Request, width: Sequence[str]) -> Call:
    """Return what `make` makes of a run after its first step."""
    runs = folder("whole-commands")
    short = ["--training.max-steps", "1", "--training.preview-every", "0", *QUIETLY, *width]
    assert main(["train", RECIPE, "--runs", str(runs), *short]) == 0
    return make(runs / RECIPE, request)


def asked(request: Request) -> list[str]:
    """Return the options of a command that ask for the images of a request."""
    scale = ["--guidance", str(request.guidance), "--batch-size", str(request.batch_size)]
    return ["--sampler", request.sampler.label, *scale, "--count", str(request.count), *QUIETLY]


def drawn(run: Path, request: Request) -> Call:
    """Return the drawing of the images."""
    denoiser = Run(run).model(device="cpu").denoiser

    def draw() -> Sequence[Tensor]:
        return [batch.pixels for batch in generate(denoiser, request)][:0]

    return draw


def drawn_and_seen(run: Path, request: Request) -> Call:
    """Return the drawing of the images, and their features."""
    opened = Run(run)
    denoiser = opened.model(device="cpu").denoiser
    yardstick = Judge(opened.dataset, torch.device("cpu")).yardstick
    extractors, wanted = yardstick.extractors, yardstick.kept

    def draw() -> Sequence[Tensor]:
        for batch in generate(denoiser, request):
            features_of(batch.pixels, extractors, wanted)
        return ()

    return draw


def evaluated(run: Path, request: Request) -> Call:
    """Return the command: checked, quoted, drawn, measured beside real images, recorded."""
    whole = ["evaluate", str(run), *asked(request), "--no-unguided", "--again", "--force"]

    def evaluate() -> Sequence[Tensor]:
        assert main(whole) == 0
        return ()

    return evaluate


def sampled(run: Path, request: Request) -> Call:
    """Return the command: drawn, put into a grid with its caption, recorded."""
    whole = ["sample", str(run), *asked(request)]

    def sample() -> Sequence[Tensor]:
        assert main(whole) == 0
        return ()

    return sample


CASE = Case("whole commands against the drawing and the features in them", comparisons)
