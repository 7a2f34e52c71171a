"""`triptych report`: write the experiment record of runs as Markdown and as a page."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from triptych.commands.run_folders import without_bouts
from triptych.commands.writing import writing_to
from triptych.errors import UserError
from triptych.parsing import parse
from triptych.record.record import FILE_NAME

LOOK = 5.0
"""Seconds between two looks at the records."""
RELOAD = 15
"""Seconds after which a browser loads a report again that is kept fresh."""


@dataclass(frozen=True)
class ReportOptions:
    """Write the experiment record of runs as Markdown and as one HTML file, from their records alone.

    The HTML has everything inside, so that it can be mailed; the Markdown shows well where it is hosted
    beside the runs.
    """

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...")]
    """Folders of runs, in the order in which they are to appear."""
    out: Path = Path()
    """File to write, if it ends in .md or .html; else the folder for EXPERIMENTS.md and EXPERIMENTS.html (or
    EXPERIMENTS.zh.md and EXPERIMENTS.zh.html)."""
    language: Literal["en", "zh"] = "en"
    """English or Chinese."""
    watch: bool = False
    """Keep the report fresh while runs are trained and measured, until Ctrl-C; a browser loads the HTML again
    by itself."""
    force: bool = False
    """Set evaluated rows in one table that were not measured alike, too; the table says so."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print the files written, and of each run what its record says of its start, samples and evaluations, as
    JSON on standard output."""


def run(tokens: Sequence[str]) -> int:
    """Write what the tokens ask for; return the exit code."""
    options = parse(ReportOptions, tokens, "triptych report")
    runs = without_bouts(options.runs)
    if not runs:
        raise UserError("triptych report", "no run given", "name the folder of one, such as runs/digits-unet")

    if options.watch:
        if options.json:
            raise UserError("--json --watch", "what is kept fresh has no end", "leave one of them out")
        return keep_fresh(options, runs)
    paths = write(options, runs)
    if options.json:
        told = {"files": [str(path) for path in paths], "runs": [facts(run) for run in dict.fromkeys(runs)]}
        json.dump(told, sys.stdout, indent=1, allow_nan=False)
        print()
    else:
        say(options, *map(str, paths))
    return 0


def facts(run: Path) -> dict[str, Any]:
    """Return what the record of a run says that tables are made of, as JSON takes it."""
    from triptych.record.codec import encode
    from triptych.record.events import Evaluated, Sampled
    from triptych.record.record import Record

    history = Record.of_run(run).history()
    best = history.best_held_out
    return {
        "run": str(run),
        "origin": encode(history.origin, type(history.origin)) | {"config": encode(history.config, dict)},
        "seconds": sum(attempt.seconds for attempt in history.attempts),
        "best_held_out": None if best is None else encode(best.data, type(best.data)),
        "samples": [encode(event.data, Sampled) for event in history.of_kind(Sampled)],
        "evaluations": [encode(event.data, Evaluated) for event in history.of_kind(Evaluated)],
    }


def write(options: ReportOptions, runs: Sequence[Path], refresh: int = 0) -> list[Path]:
    """Write the report and return the paths of its files; see `triptych.report.report`."""
    from triptych.commands.work_console import WorkConsole
    from triptych.report.report import report

    watch = WorkConsole(partial(say, options), quiet=options.quiet)
    with writing_to(options.out):
        return report(runs, options.out, options.language, unlike=options.force, refresh=refresh, watch=watch)


def keep_fresh(options: ReportOptions, runs: Sequence[Path]) -> int:
    """Write the report whenever a record has grown, until Ctrl-C; then once more, as it is to stay."""
    for path in write(options, runs, RELOAD):
        say(options, str(path))
    say(options, "kept fresh until Ctrl-C")
    seen = stamps(runs)
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(LOOK)
            if (now := stamps(runs)) != seen:
                seen = now
                try:
                    write(options, runs, RELOAD)
                    say(options, f"written again at {datetime.now():%H:%M:%S}")
                except UserError as error:  # a run was moved, say: it may come back
                    say(options, f"not written at {datetime.now():%H:%M:%S}: {error}")
    write(options, runs)
    return 0


def stamps(runs: Sequence[Path]) -> list[tuple[int, int] | None]:
    """Return when each record was last written to, and its size; None where there is none."""
    found: list[tuple[int, int] | None] = []
    for run in runs:
        try:
            stat = (run / FILE_NAME).stat()
            found.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            found.append(None)
    return found


def say(options: ReportOptions, *lines: str) -> None:
    """Print lines unless quiet: to standard output, or to standard error where that is kept for JSON."""
    for line in () if options.quiet else lines:
        print(line, file=sys.stderr if options.json else sys.stdout, flush=True)
