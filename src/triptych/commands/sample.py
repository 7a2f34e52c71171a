"""`triptych sample`: draw images from a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from triptych.commands.sampler_options import SamplerOptions, chosen_samplers
from triptych.errors import UserError
from triptych.parsing import parse

if TYPE_CHECKING:
    from triptych.commands.sample_pictures import Written
    from triptych.generation import Request
    from triptych.runs import Model, Run


@dataclass(frozen=True)
class SampleOptions:
    """Draw images from a run: a labelled grid, single pictures, a GIF of the denoising.

    Image j has class j mod K, and noise of its own that depends on the seed and on j alone, so that two
    checkpoints, samplers or scales can be compared image by image.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run, such as runs/digits-unet."""
    sampler: tuple[str, ...] = ()
    """Samplers with their steps and options, such as ddim:50 ddim:50,eta=0.5; by default the recipe's."""
    guidance: tuple[float, ...] = ()
    """Guidance scales: 0 unconditional, 1 plain conditional, above 1 guided; by default the recipe's."""
    checkpoint: str = "last"
    """last, best-mse, epoch-350 or 350."""
    raw: bool = False
    """Take the raw weights, not their moving average."""
    per_class: int | None = None
    """Images of each class, one row a class (at guidance 0 they have none); by default the recipe's."""
    count: int | None = None
    """Images in all, in one grid, instead of so many per class."""
    classes: tuple[str, ...] = ()
    """Names or numbers of the classes to draw; none given: all."""
    seed: int = 0
    """Of all noise."""
    batch_size: int | None = None
    """Images drawn at a time; by default the recipe's. Changes no noise."""
    gif: bool = False
    """Write a GIF of the denoising as well: x_t beside the predicted x_0."""
    singles: bool = False
    """Write every image as a PNG of its own as well, in its own size."""
    device: str | None = None
    """Where to compute; by default the recipe's."""
    precision: Literal["auto", "float32", "bf16", "fp16"] | None = None
    """Of the network; by default what suits the device."""
    out: Path | None = None
    """Folder to write to, one folder a grid where there are several; by default under the run's samples/."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print what was written, and the time, as JSON on standard output."""
    details: OmitArgPrefixes[SamplerOptions] = field(default_factory=SamplerOptions)


def run(tokens: Sequence[str]) -> int:
    """Draw what the tokens ask for; return the exit code."""
    options = parse(SampleOptions, tokens, "triptych sample")
    if options.count is not None and options.per_class is not None:
        raise UserError("--count and --per-class", "both given", "give one of them")

    from triptych.commands.sample_pictures import Pictures, draw  # loads torch
    from triptych.runs import Run

    opened = Run(options.run)
    weights = "raw" if options.raw else "ema"
    model = opened.model(options.checkpoint, weights, options.device, options.precision)
    requests = make_requests(opened, model, options)
    outcomes = []
    for request in requests:
        by_class = options.count is None and request.guidance > 0
        pictures = Pictures(by_class, options.gif, options.singles, options.out, len(requests) > 1)
        outcomes.append(draw(opened, model, request, pictures, silent=options.quiet or options.json))
        if not (options.quiet or options.json):
            tell(request, outcomes[-1])
    if options.json:
        json.dump([asdict(written) for written in outcomes], sys.stdout, indent=1)
        print()
    return 0


def tell(request: Request, written: Written) -> None:
    """Print what was written and what it took."""
    print(*filter(None, (written.grid, written.gif, written.singles)), sep="\n")
    cost = f"{written.network_calls} network calls an image, {written.seconds:.1f} s"
    print(f"{written.count} images, {request.caption}, {cost}", flush=True)


def make_requests(opened: Run, model: Model, options: SampleOptions) -> list[Request]:
    """Return the requests that the options make of this model: one for every sampler and scale.

    All are checked before the first is drawn.
    """
    defaults = opened.experiment.sampling
    names = opened.class_names
    if (options.per_class is not None or options.classes) and model.denoiser.backbone.classes == 0:
        raise UserError("--per-class and --classes", "the model is unconditional", "use --count")
    if options.classes and 0 in options.guidance:
        raise UserError(
            "--classes at --guidance 0", "it draws no class", "give a scale above 0, or no classes"
        )
    classes = [class_number(name, names) for name in options.classes]
    per_class = defaults.per_class if options.per_class is None else options.per_class
    return [
        opened.request(
            model,
            count=per_class * len(classes or names) if options.count is None else options.count,
            guidance=guidance,
            sampler=sampler,
            seed=options.seed,
            batch_size=options.batch_size,
            classes=classes,
        )
        for sampler in chosen_samplers(options.sampler, options.details, defaults.sampler)
        for guidance in dict.fromkeys(options.guidance or (None,))
    ]


def class_number(name: str, names: Sequence[str]) -> int:
    """Return the number of the class called `name`, or given by its number."""
    if name in names:
        return list(names).index(name)
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    raise UserError(f"--classes {name}", "no such class", f"choose from {', '.join(names)}")
