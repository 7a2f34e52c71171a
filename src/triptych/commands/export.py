"""`triptych export`: write a run's model as files of another program."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from triptych.commands.writing import writing_to
from triptych.parsing import parse


@dataclass(frozen=True)
class ExportOptions:
    """Write a run's model as files of another program: diffusers, or DiT, loads them as its own."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run, such as runs/digits-unet."""
    out: Path
    """Folder to write, which is not there yet or is empty."""
    format: Literal["diffusers", "dit"] = "diffusers"
    """Whose files: diffusers (of a unet, a folder as DDPMPipeline saves it) or dit (of a dit, a state dict of
    facebookresearch/DiT)."""
    checkpoint: str = "last"
    """last, best-mse, epoch-350 or 350."""
    raw: bool = False
    """Take the raw weights, not their moving average."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print what was written as JSON on standard output."""


def run(tokens: Sequence[str]) -> int:
    """Export what the tokens ask for; return the exit code."""
    options = parse(ExportOptions, tokens, "triptych export")

    from triptych.exchange.export import export  # loads torch
    from triptych.runs import Run

    opened = Run(options.run)
    model = opened.model(options.checkpoint, "raw" if options.raw else "ema", "cpu")
    with writing_to(options.out):
        size = export(opened, model, options.out, options.format)
    if options.json:
        told = {"out": str(options.out), "checkpoint": model.checkpoint, "weights": model.weights}
        json.dump(told | {"bytes": size}, sys.stdout, indent=1)
        print()
    elif not options.quiet:
        print(options.out)
        print(f"{model.checkpoint}, {model.weights} weights, {size / 1e6:.1f} MB")
    return 0
