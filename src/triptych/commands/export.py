"""`triptych export`: write a run's model as files of another program, or as a small copy of the run."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from triptych.commands.writing import writing_to
from triptych.errors import UserError
from triptych.parsing import parse

USUAL_MB = 16.0
"""Millions of bytes: what hosts of repositories take without complaint."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a run's model as files of another program, diffusers or DiT, or as a small copy of the run.

    The copy holds recipe, record and pictures, and of the models this one: it can be sampled, evaluated and
    reported as the run itself, and handed on.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of the run, such as runs/digits-unet."""
    out: Path
    """Folder to write, which is not there yet or is empty."""
    format: Literal["diffusers", "dit", "run"] = "diffusers"
    """Whose files: diffusers (of a unet, a folder as DDPMPipeline saves it), dit (of a dit, a state dict of
    facebookresearch/DiT), or run (a small copy of it)."""
    checkpoint: str = "last"
    """last, best-mse, epoch-350 or 350."""
    ema: str | None = None
    """Average of the weights: ema, ema_long (slower), best (of these the one with the lower held-out error at
    the checkpoint), or none for the raw weights. By default ema; of best-fid and the like, what was best."""
    dtype: Literal["bf16", "fp16", "float32"] | None = None
    """Of a small copy: what matrices and kernels are rounded to, bf16 by default; float32 rounds nothing."""
    max_file_mb: float | None = None
    """Of a small copy: the largest file of weights, in millions of bytes; by default 16."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print what was written as JSON on standard output."""


def run(tokens: Sequence[str]) -> int:
    """Export what the tokens ask for; return the exit code."""
    options = parse(ExportOptions, tokens, "triptych export")

    check(options)

    from triptych.exchange.export import export  # loads torch
    from triptych.exchange.small_copy import write_copy
    from triptych.runs import Run

    opened = Run(options.run)
    model = opened.model(options.checkpoint, options.ema, "cpu")
    with writing_to(options.out):
        if options.format == "run":
            dtype, megabytes = options.dtype or "bf16", options.max_file_mb or USUAL_MB
            size = write_copy(opened, model, options.out, dtype=dtype, largest=int(megabytes * 1e6))
        else:
            size = export(opened, model, options.out, options.format)
    if options.json:
        told = {"out": str(options.out), "checkpoint": model.checkpoint, "weights": model.weights}
        json.dump(told | {"bytes": size}, sys.stdout, indent=1)
        print()
    elif not options.quiet:
        print(options.out)
        print(f"{model.checkpoint}, {model.weights} weights, {size / 1e6:.1f} MB")
    return 0


def check(options: ExportOptions) -> None:
    """Raise `UserError` for options that do not go together, or are out of range."""
    if options.max_file_mb is not None and not 0 < options.max_file_mb < math.inf:
        asked = f"--max-file-mb {options.max_file_mb:g}"
        raise UserError(asked, "out of range", f"choose a number of megabytes, such as {USUAL_MB:g}")
    if options.format != "run":
        for flag, value in (("--dtype", options.dtype), ("--max-file-mb", options.max_file_mb)):
            if value is not None:
                found = f"the files of {options.format} have a form of their own"
                shown = value if isinstance(value, str) else f"{value:g}"
                raise UserError(f"{flag} {shown}", found, "say --format run, or leave it out")
