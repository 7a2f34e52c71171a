"""`triptych report`: write the experiment record of runs as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from triptych.commands.run_folders import without_bouts
from triptych.commands.writing import writing_to
from triptych.errors import UserError
from triptych.parsing import parse


@dataclass(frozen=True)
class ReportOptions:
    """Write the experiment record of runs as Markdown, from their records alone."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...")]
    """Folders of runs, in the order in which they are to appear."""
    out: Path = Path()
    """File to write, if it ends in .md; else the folder for EXPERIMENTS.md (or EXPERIMENTS.zh.md)."""
    language: Literal["en", "zh"] = "en"
    """English or Chinese."""
    force: bool = False
    """Set evaluated rows in one table that were not measured alike, too; the table says so."""
    quiet: bool = False
    """Print nothing but errors."""


def run(tokens: Sequence[str]) -> int:
    """Write what the tokens ask for; return the exit code."""
    options = parse(ReportOptions, tokens, "triptych report")
    runs = without_bouts(options.runs)
    if not runs:
        raise UserError("triptych report", "no run given", "name the folder of one, such as runs/digits-unet")

    from triptych.report.report import report

    with writing_to(options.out):
        written = report(runs, options.out, options.language, unlike=options.force)
    if not options.quiet:
        print(written)
    return 0
