"""`triptych sample`: draw images from a run, or the same images from several."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from triptych.commands.run_folders import without_bouts
from triptych.commands.sampler_options import SamplerOptions, chosen_samplers, guided
from triptych.errors import UserError
from triptych.parsing import parse, refuse_below_one

if TYPE_CHECKING:
    from triptych.commands.bout import Bout
    from triptych.commands.sample_pictures import Written
    from triptych.generation import Request
    from triptych.models import Model
    from triptych.runs import Run


@dataclass(frozen=True)
class SampleOptions:
    """Draw images from a run: a labelled grid, single pictures, a GIF of the denoising.

    Image j has class j mod K, and noise of its own that depends on the seed and on j alone, so that two
    checkpoints, samplers or scales can be compared image by image. So can runs that learnt the same images:
    of several, a picture is written besides that shows what each of them draws side by side. What is left to
    the recipe is then left to that of the first.
    """

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...")]
    """Folders of runs, such as runs/digits-unet; of several, in the order of the picture."""
    sampler: tuple[str, ...] = ()
    """Samplers with their steps and options, such as ddim:50 ddim:50,eta=0.5, or presets: parity (ddpm:1000
    and ddim:50), quality, fast, guided; by default the recipe's."""
    guidance: tuple[float, ...] = ()
    """Guidance scales: 0 unconditional, 1 plain conditional, above 1 guided; by default the recipe's."""
    guide: tuple[str, ...] = ()
    """How scales above 1 guide: cfg (everywhere alike), with options such as cfg,above=0.2,below=3 (only
    there), cfg,shape=linear, cfg,rescale=0.7, cfg,against=epoch-10 (another checkpoint); or apg. By default
    the recipe's."""
    checkpoint: str = "last"
    """last, best-mse, epoch-350 or 350."""
    ema: str | None = None
    """Average of the weights: ema, ema_long (slower), best (of these the one with the lower held-out error at
    the checkpoint), or none for the raw weights. By default ema; of best-fid and the like, what was best."""
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
    """Folder to write to, with a folder for every grid and run where there are several. By default grids go
    under the run's samples/, and what several runs share into a folder beside them."""
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
    refuse_below_one(count=options.count, per_class=options.per_class, batch_size=options.batch_size)

    if "RANK" in os.environ and (started := os.environ.get("WORLD_SIZE", "1")) != "1":
        found = f"{started} processes were started, of which each would draw all images"
        raise UserError("triptych sample by torchrun", found, "start it without torchrun")
    folders = without_bouts(options.runs)
    if not folders:
        raise UserError("triptych sample", "no run given", "name the folder of one, such as runs/digits-unet")

    from triptych.commands.bout import Bout  # loads torch
    from triptych.runs import Run

    runs = [Run(folder) for folder in folders]
    bout = None
    if len(runs) > 1:
        classless = bool(options.guidance) and not any(options.guidance)
        bout = Bout.of(runs, options.checkpoint, options.out, classless=classless)
    models = [run.model(options.checkpoint, options.ema, options.device, options.precision) for run in runs]
    requests = [make_requests(run, model, options, runs[0]) for run, model in zip(runs, models, strict=True)]
    outcomes: list[Written] = []
    for asked in zip(*requests, strict=True):
        outcomes += draw_alike(bout, runs, models, asked, options, several=len(requests[0]) > 1)
    if options.json:
        json.dump([asdict(written) for written in outcomes], sys.stdout, indent=1)
        print()
    return 0


def draw_alike(
    bout: Bout | None,
    runs: Sequence[Run],
    models: Sequence[Model],
    requests: Sequence[Request],
    options: SampleOptions,
    *,
    several: bool,
) -> list[Written]:
    """Draw the same images from every run, each by its own model and request, and record them.

    Args:
        bout: what they have in common; None for a single run.
        runs: the runs.
        models: of each.
        requests: to each; alike but for the size of batches.
        options: what else was asked for.
        several: whether these are not the only requests.
    """
    from triptych.commands.sample_pictures import Pictures, draw, record, rows_of
    from triptych.commands.writing import writing_to

    silent = options.quiet or options.json
    request = requests[0]
    by_class = options.count is None and request.shows_classes(models[0].denoiser.backbone.classes)
    folder = None
    if bout is not None:
        per_class = rows_of(request, runs[0].class_names) if by_class else None
        folder = bout.folder(models, request, per_class, several)
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)  # told before the images have cost an hour
    outcomes = []
    for run, model, own in zip(runs, models, requests, strict=True):
        out = options.out if bout is None else bout.own_out(run)
        pictures = Pictures(by_class, options.gif, options.singles, out, several)
        outcomes.append(draw(run, model, own, pictures, silent=silent))
        if not silent:
            tell(own, outcomes[-1].written)
    shared = None
    if bout is not None and folder is not None:
        shared = bout.write(folder, models, request, [outcome.drawn for outcome in outcomes], by_class)
        if not silent:
            print(shared, flush=True)
    return [
        record(run, model, outcome, shared)
        for run, model, outcome in zip(runs, models, outcomes, strict=True)
    ]


def tell(request: Request, written: Written) -> None:
    """Print what was written and what it took."""
    print(*filter(None, (written.grid, written.gif, written.singles)), sep="\n")
    cost = f"{written.network_calls} network calls an image, {written.seconds:.1f} s"
    print(f"{written.count} images, {request.caption}, {cost}", flush=True)


def make_requests(opened: Run, model: Model, options: SampleOptions, first: Run) -> list[Request]:
    """Return the requests that the options make of this model: one for every sampler and scale.

    All are checked before the first is drawn. What the options leave open is as in the recipe of `first`, so
    that several runs draw the same.
    """
    defaults, names = first.experiment.sampling, first.class_names
    conditional = model.denoiser.backbone.classes > 0
    if (options.per_class is not None or options.classes) and not conditional:
        raise UserError("--per-class and --classes", "the model is unconditional", "use --count")
    if options.classes and 0 in options.guidance:
        raise UserError(
            "--classes at --guidance 0", "it draws no class", "give a scale above 0, or no classes"
        )
    classes = [class_number(name, names) for name in options.classes]
    led = guided(
        options.guidance, options.guide, (defaults.guidance,), (defaults.guide,), conditional=conditional
    )
    per_class = defaults.per_class if options.per_class is None else options.per_class
    requests = [
        opened.request(
            model,
            count=per_class * len(classes or names) if options.count is None else options.count,
            guidance=guidance,
            sampler=sampler,
            seed=options.seed,
            batch_size=options.batch_size,
            classes=classes,
            guide=guide,
        )
        for sampler in chosen_samplers(options.sampler, options.details, defaults.sampler)
        for guidance, guide in led
    ]
    return list(dict.fromkeys(requests))


def class_number(name: str, names: Sequence[str]) -> int:
    """Return the number of the class called `name`, or given by its number."""
    if name in names:
        return list(names).index(name)
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    raise UserError(f"--classes {name}", "no such class", f"choose from {', '.join(names)}")
