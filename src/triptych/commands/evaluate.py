"""`triptych evaluate`: measure a run's images against real ones, one row for every combination."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from triptych.commands.sampler_options import SamplerOptions, chosen_samplers
from triptych.parsing import parse, refuse_below_one

if TYPE_CHECKING:
    from triptych.distributed import Ranks
    from triptych.evaluation.judge import Judge
    from triptych.generation import Generated, Request
    from triptych.record.events import Evaluated, Passport
    from triptych.runs import Model, Run

FOLDER = "evaluations"
"""In a run's folder: features of rows that are not finished yet."""


@dataclass(frozen=True)
class DataPlace:
    """The run's images."""

    path: str = ""
    """Where they lie now; by default where the run's configuration says. Other images are refused."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Measure images of a run against real ones: one row for every combination of what is listed.

    Every row has the same noise, so that rows differ by what they name and not by chance. Each figure stands
    beside that of equally many real held-out images. Rows that the record already holds are not drawn again.
    Started by torchrun, the processes share out the images of every row.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run, such as runs/digits-unet."""
    checkpoint: tuple[str, ...] = ()
    """Checkpoints: last, best-mse, epoch-350 or 350; by default the recipe's."""
    guidance: tuple[float, ...] = ()
    """Guidance scales; by default the recipe's."""
    sampler: tuple[str, ...] = ()
    """Samplers with their steps and options, such as ddim:50 ddpm:1000; by default the recipe's."""
    count: int | None = None
    """Images of each row; by default the recipe's, or as many as the held-out split has, in equal classes."""
    ema: tuple[str, ...] = ()
    """Averages of the weights: ema (where none is named), ema_long (slower), best (of these the one with the
    lower held-out error at the checkpoint), or none for the raw weights."""
    seed: int = 0
    """Of all noise."""
    batch_size: int | None = None
    """Images drawn at a time; by default the recipe's. Changes no noise."""
    device: str | None = None
    """Where to compute; by default the recipe's."""
    precision: Literal["auto", "float32", "bf16", "fp16"] | None = None
    """Of the network; by default what suits the device."""
    data: DataPlace = field(default_factory=DataPlace)
    again: bool = False
    """Measure rows anew that the record already holds."""
    force: bool = False
    """Measure even fewer images than a metric needs; read such figures with care."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print the rows as JSON on standard output."""
    details: OmitArgPrefixes[SamplerOptions] = field(default_factory=SamplerOptions)


@dataclass(frozen=True)
class Asked:
    """A row of the table that was asked for: which images, and what identifies their figures."""

    request: Request
    passport: Passport


def run(tokens: Sequence[str]) -> int:
    """Measure what the tokens ask for; return the exit code."""
    options = parse(EvaluateOptions, tokens, "triptych evaluate")
    refuse_below_one(count=options.count, batch_size=options.batch_size)

    from triptych.distributed import joined  # loads torch

    with joined() as ranks:
        if not ranks.first:  # which speaks for all
            options = replace(options, quiet=True, json=False)
            warnings.simplefilter("ignore")
        rows = evaluated(options, ranks)
    if options.json:
        json.dump([asdict(row) for row in rows], sys.stdout, indent=1)
        print()
    else:
        say(options, *best_lines(rows))
    return 0


def evaluated(options: EvaluateOptions, ranks: Ranks) -> list[Evaluated]:
    """Return the rows that were asked for, from the record or measured now; every rank calls this.

    The first rank alone reads and writes the record.
    """
    from triptych.commands.work_console import WorkConsole
    from triptych.evaluation.judge import Judge
    from triptych.evaluation.weights import USUAL
    from triptych.runs import Run

    console = WorkConsole(partial(say, options), quiet=options.quiet)
    opened = Run(options.run, options.data.path, console)
    warn_of_guess(opened)
    # Everything is checked before the first image is drawn: a typing error must not cost an hour. Models are
    # opened to see that they can be, and again when their turn comes: held all at once they might not fit.
    epochs: dict[tuple[str, str], float] = {}
    for name in options.checkpoint or opened.experiment.evaluation.checkpoint:
        for average in options.ema or (USUAL,):
            model = opened.model(name, average, options.device, options.precision)
            epochs[model.checkpoint, model.weights] = model.epoch
    epochs = ranks.agree(epochs)  # a run that is still training may have got further
    with ranks.in_turn():  # what the first one decodes, the others find in the cache
        dataset = opened.dataset
    requests = make_requests(opened, model, options)
    judge = Judge(dataset, model.device, force=options.force, watch=console, ranks=ranks)
    for request in requests:
        judge.check(model.denoiser, request)
    asked = [
        Asked(request, judge.passport(request, name, epoch, weights, model.denoiser.precision))
        for (name, weights), epoch in epochs.items()
        for request in requests
    ]
    known = ranks.lead(lambda: [None if options.again else recorded(opened, row.passport) for row in asked])
    say(options, f"{len(asked)} row{'s' if len(asked) > 1 else ''} of {requests[0].count} images")
    rows = []
    for wanted, row in zip(asked, known, strict=True):
        chosen = wanted.passport.checkpoint, wanted.passport.weights
        if row is None and chosen != (model.checkpoint, model.weights):
            model = opened.model(*chosen, options.device, options.precision)
        rows.append(row or measured_row(opened, judge, model, wanted, options))
        say(options, line_of(rows[-1]) + ("  (from the record)" if row else ""))
    return rows


def warn_of_guess(opened: Run) -> None:
    """Warn where an imported model is measured against images that nobody said to be like its own."""
    origin, data = opened.record.history().imported, opened.experiment.data
    said = data.path or opened.data_path
    if origin and origin.data_guessed and data.name == origin.data.name and not said:
        found = f"measured against {data.name} for the size of its images alone"
        remedy = "say what they are with --data.path, or import it again with --data.name and another --name"
        warnings.warn(f"evaluate {opened.folder}: {found}; {remedy}", stacklevel=2)


def make_requests(opened: Run, model: Model, options: EvaluateOptions) -> list[Request]:
    """Return one request for every sampler and scale, in the order given."""
    from triptych.evaluation.judge import balanced_count

    classes = model.denoiser.backbone.classes
    usual, drawn = opened.experiment.evaluation, opened.experiment.sampling
    count = usual.count if options.count is None else options.count
    if count is None:
        count = balanced_count(opened.dataset.held_out, classes)
    scales = options.guidance or (usual.guidance if classes else ())
    return [
        opened.request(
            model,
            count=count,
            guidance=scale,
            sampler=sampler,
            seed=options.seed,
            batch_size=options.batch_size,
        )
        for sampler in chosen_samplers(options.sampler, options.details, usual.sampler or drawn.sampler[:1])
        for scale in dict.fromkeys(scales or (None,))
    ]


def measured_row(
    opened: Run, judge: Judge, model: Model, asked: Asked, options: EvaluateOptions
) -> Evaluated:
    """Return the row of one model and request, measured now and recorded."""
    from tqdm import tqdm

    folder = opened.folder / FOLDER
    silent = options.quiet or options.json or not sys.stderr.isatty()
    with tqdm(total=asked.request.count, unit="image", disable=silent, leave=False) as bar:

        def watch(batch: Generated) -> None:
            bar.update(len(batch.index) * judge.ranks.size)

        row = judge.row(model.denoiser, asked.request, asked.passport, folder, watch)
    if judge.ranks.first:
        opened.record.append(row, model.step, model.attempt)
        judge.store(asked.request, asked.passport, folder).remove()
    return row


def recorded(opened: Run, passport: Passport) -> Evaluated | None:
    """Return the newest row of the record that was measured exactly so, if there is one.

    Versions and hardware may differ: they change figures by rounding alone.
    """
    from triptych.record.events import Evaluated

    def identity(other: Passport) -> dict:
        return {k: v for k, v in asdict(other).items() if k not in ("versions", "device")}

    rows = [event.data for event in opened.record.history().of_kind(Evaluated)]
    same = [row for row in rows if identity(row.passport) == identity(passport)]
    return same[-1] if same else None


def line_of(row: Evaluated) -> str:
    """Return a row as one line to read."""
    from triptych.evaluation.weights import USUAL

    passport = row.passport
    weights = "" if passport.weights == USUAL else f" ({passport.weights})"
    figures = "  ".join(
        f"{figure.metric} {figure.estimate:.3f}"
        + (f" ± {figure.spread:.3f}" if figure.spread is not None else "")
        + (f" (real {figure.real:.3f})" if figure.real is not None else "")
        for figure in row.figures
    )
    seconds = row.generation_took + row.measuring_took
    return (
        f"{passport.checkpoint}{weights}  {passport.sampler}  scale {passport.guidance:g}  {figures}  "
        f"{seconds:.1f} s"
    )


def best_lines(rows: Sequence[Evaluated]) -> list[str]:
    """Return a line for each metric that names its best row, where several have the same kind of weights."""
    from triptych.evaluation.selection import best_rows

    kinds = list(dict.fromkeys(row.passport.weights for row in rows))
    lines = []
    for kind in kinds:
        alike = [row for row in rows if row.passport.weights == kind]
        of_which = f" of {kind}" if len(kinds) > 1 else ""
        lines += [
            f"best {name}{of_which}: {best.row.passport.checkpoint}, {best.row.passport.sampler}, "
            f"scale {best.row.passport.guidance:g}"
            + (f" (not told apart from {len(best.ties)} more)" if best.ties else "")
            for name, best in (best_rows(alike) if len(alike) > 1 else {}).items()
        ]
    return lines


def say(options: EvaluateOptions, *lines: str) -> None:
    """Print lines: to standard output, or to standard error where that is kept for JSON."""
    for line in () if options.quiet else lines:
        print(line, file=sys.stderr if options.json else sys.stdout, flush=True)
