"""`triptych import`: make runs of models that were trained elsewhere, and of written-down figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from triptych.errors import UserError
from triptych.parsing import parse, refuse_below_one

ENDINGS = (".yaml", ".yml")
"""Of files of experiments that a person wrote down."""


@dataclass(frozen=True)
class DataOptions:
    """The images that the model draws, for its evaluation and for the names of its classes."""

    name: str = ""
    """Name of the data set; by default its file's, or a guess by size: cifar10 for 32x32 pixels in colour."""
    path: str = ""
    """Where its files lie, if not in its own place. They are read at once, and have to fit the model."""


@dataclass(frozen=True)
class ImportOptions:
    """Make a run of a model that was trained elsewhere: it can be sampled, evaluated and reported.

    Read are folders of diffusers' DDPMPipeline, old ones too, and checkpoints of facebookresearch/DiT on
    pixels. Nothing in them is executed. Of a YAML file of experiments whose figures a person wrote down,
    each becomes a run that can be reported beside others (docs/record.md says how to write one).
    """

    path: Annotated[Positional[Path], arg(metavar="PATH")]
    """Folder of diffusers' files, such as ./ddpm-cifar10-32, or DiT's weights, such as ./0050000.pt; or a
    YAML file of written-down experiments, such as ./older.yaml."""
    name: str | None = None
    """Name of the run; by default the folder's, or the file's without its ending. Written-down experiments
    have their own."""
    runs: Path = Path("runs")
    """Folder in which runs are kept."""
    null_class: Literal["last"] | None = None
    """Say that the last class embedding of a conditional model is that of no class; DiT's is taken for it."""
    heads: int | None = None
    """Attention heads of a DiT; by default those of the paper's network of its width."""
    data: DataOptions = field(default_factory=DataOptions)
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print what was made as JSON on standard output."""


def run(tokens: Sequence[str]) -> int:
    """Import what the tokens name; return the exit code."""
    options = parse(ImportOptions, tokens, "triptych import")
    if options.path.suffix in ENDINGS:
        return write_down(options)
    refuse_below_one("choose the number that it was trained with, 1 up to its width", heads=options.heads)

    from triptych.commands.work_console import WorkConsole  # loads torch
    from triptych.exchange.foreign import UNKNOWN, write_run
    from triptych.exchange.importing import read_model

    foreign = read_model(options.path, options.null_class, options.heads)
    watch = WorkConsole(partial(say, options), quiet=options.quiet)
    images = foreign.images(options.data.name, options.data.path, watch)
    # A folder may be given as `.`; a file's own name counts, not that of what it is a link to.
    usual = options.path.stem if options.path.is_file() else options.path.resolve().name
    name = usual if options.name is None else options.name
    data_name, class_names = (images.name, images.class_names) if images else (options.data.name, ())
    experiment = foreign.experiment(name, data_name, options.data.path)
    folder = write_run(foreign, experiment, options.runs, data_name=data_name, class_names=class_names)
    guess = foreign.guessed_data(options.data.name, options.data.path)
    if options.json:
        told: dict[str, object] = {"run": str(folder), "parameters": foreign.parameters}
        told |= {"classes": foreign.classes, "data": experiment.data.name, "data_guessed": bool(guess)}
        told |= {"digest": foreign.digest, "remarks": foreign.remarks}
        json.dump(told, sys.stdout, indent=1)
        print()
        return 0
    kind = f"{foreign.classes} classes" if foreign.classes else "unconditional"
    predicts = f"{foreign.diffusion.schedule} schedule, predicts {foreign.diffusion.prediction}"
    say(options, str(folder))
    say(options, f"{foreign.parameters:,} parameters, {kind}, {predicts}")
    for remark in foreign.remarks:
        say(options, remark)
    if guess:
        otherwise = "if they are others, import it again with --data.name NAME and another --name"
        say(options, f"taken for {guess}, by the size of its images alone; {otherwise}")
    elif experiment.data.name == UNKNOWN:
        say(options, "nothing says what its images are; to evaluate it, say with --data.path where such lie")
    return 0


def write_down(options: ImportOptions) -> int:
    """Make a run of every experiment in a file of figures; return the exit code."""
    from triptych.commands.import_transcripts import enter

    model_alone = {
        "--name": options.name,
        "--null-class": options.null_class,
        "--heads": options.heads,
        "--data.name": options.data.name or None,
        "--data.path": options.data.path or None,
    }
    for flag, value in model_alone.items():
        if value is not None:
            found = "its experiments say that themselves, and hold no model"
            raise UserError(f"import {options.path} with {flag}", found, f"leave {flag} out")
    entered = enter(options.path, options.runs)
    if options.json:
        json.dump([asdict(run) for run in entered], sys.stdout, indent=1)
        print()
        return 0
    for run in entered:
        told = f", {run.rows} evaluated {'row' if run.rows == 1 else 'rows'}" if run.rows else ""
        say(options, f"{run.run}{told}{', replaced' if run.replaced else ''}")
        for path in run.missing:
            say(options, f"  there is no picture in {path}: mend the path and import the file again")
    return 0


def say(options: ImportOptions, line: str) -> None:
    """Print a line unless quiet; on standard error where JSON goes to standard output."""
    if not options.quiet:
        print(line, file=sys.stderr if options.json else sys.stdout)
