"""`triptych report`: write the experiment record of runs as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from triptych.errors import UserError
from triptych.parsing import parse

FILE_NAMES = {"en": "EXPERIMENTS.md", "zh": "EXPERIMENTS.zh.md"}


@dataclass(frozen=True)
class ReportOptions:
    """Write the experiment record of runs as Markdown, from their records alone."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...")]
    """Folders of runs, in the order in which they are to appear."""
    out: Path | None = None
    """File to write; by default EXPERIMENTS.md (or EXPERIMENTS.zh.md) in the current folder."""
    language: Literal["en", "zh"] = "en"
    """English or Chinese."""
    quiet: bool = False
    """Print nothing but errors."""


def run(tokens: Sequence[str]) -> int:
    """Write what the tokens ask for; return the exit code."""
    options = parse(ReportOptions, tokens, "triptych report")
    if not options.runs:
        raise UserError("triptych report", "no run given", "name the folder of one, such as runs/digits-unet")

    from triptych.report.report import report

    out = options.out or Path(FILE_NAMES[options.language])
    report(options.runs, out, options.language)
    if not options.quiet:
        print(out)
    return 0
