"""`triptych import`: make a run of a model that was trained elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from triptych.parsing import parse


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

    Read are folders of diffusers' DDPMPipeline, old ones too. Nothing in them is executed.
    """

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Folder of the files, such as ./ddpm-cifar10-32."""
    name: str | None = None
    """Name of the run; by default the folder's."""
    runs: Path = Path("runs")
    """Folder in which runs are kept."""
    null_class: Literal["last"] | None = None
    """Say that the last class embedding of a conditional model is that of no class."""
    data: DataOptions = field(default_factory=DataOptions)
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print what was made as JSON on standard output."""


def run(tokens: Sequence[str]) -> int:
    """Import what the tokens name; return the exit code."""
    options = parse(ImportOptions, tokens, "triptych import")

    from triptych.commands.work_console import WorkConsole  # loads torch
    from triptych.exchange.diffusers_folder import read_folder
    from triptych.exchange.foreign import UNKNOWN, write_run

    foreign = read_folder(options.folder, options.null_class)
    watch = WorkConsole(partial(say, options), quiet=options.quiet)
    images = foreign.images(options.data.name, options.data.path, watch)
    name = options.folder.resolve().name if options.name is None else options.name
    data_name, class_names = (images.name, images.class_names) if images else (options.data.name, ())
    experiment = foreign.experiment(name, data_name, options.data.path)
    folder = write_run(foreign, experiment, options.runs, data_name=data_name, class_names=class_names)
    guess = foreign.guessed_data(options.data.name, options.data.path)
    if options.json:
        told = {"run": str(folder), "parameters": foreign.parameters, "digest": foreign.digest}
        told |= {"classes": foreign.classes, "data": experiment.data.name, "data_guessed": bool(guess)}
        json.dump(told, sys.stdout, indent=1)
        print()
        return 0
    kind = f"{foreign.classes} classes" if foreign.classes else "unconditional"
    predicts = f"{foreign.diffusion.schedule} schedule, predicts {foreign.diffusion.prediction}"
    say(options, str(folder))
    say(options, f"{foreign.parameters:,} parameters, {kind}, {predicts}")
    if guess:
        otherwise = "if they are others, import it again with --data.name NAME and another --name"
        say(options, f"taken for {guess}, by the size of its images alone; {otherwise}")
    elif experiment.data.name == UNKNOWN:
        say(options, "nothing says what its images are; to evaluate it, say with --data.path where such lie")
    return 0


def say(options: ImportOptions, line: str) -> None:
    """Print a line unless quiet; on standard error where JSON goes to standard output."""
    if not options.quiet:
        print(line, file=sys.stderr if options.json else sys.stdout)
