"""`triptych evaluate`: measure a run's images, or any pictures, against real ones."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from triptych.commands.evaluate_options import EvaluateOptions, check
from triptych.commands.run_folders import called
from triptych.errors import UserError
from triptych.parsing import parse

if TYPE_CHECKING:
    from triptych.commands.sweep import Asked, Measured, Sweep
    from triptych.distributed import Ranks
    from triptych.evaluation.judge import Judge
    from triptych.record.events import Evaluated
    from triptych.runs import Run

LONGEST = timedelta(days=1)
"""How long ranks wait while the first one measures what is real: on a processor, 50,000 images take hours."""


def run(tokens: Sequence[str]) -> int:
    """Measure what the tokens ask for; return the exit code."""
    options = parse(EvaluateOptions, tokens, "triptych evaluate")
    check(options)
    if options.images is not None:
        from triptych.commands.evaluate_images import measured_images  # loads torch

        told = [measured_images(options, partial(say, options))]
    else:
        from triptych.distributed import joined

        with joined(LONGEST) as ranks:
            if not ranks.first:  # which speaks for all
                options = replace(options, quiet=True, json=False)
                warnings.simplefilter("ignore")
            told = [asdict(row) for row in evaluated(options, ranks)]
    if options.json:
        json.dump(told, sys.stdout, indent=1)
        print()
    return 0


def evaluated(options: EvaluateOptions, ranks: Ranks) -> list[Evaluated]:
    """Return the rows that were asked for, from the record or measured now; every rank calls this.

    The first rank alone reads and writes records.
    """
    from triptych.commands.evaluation_lines import verdict_lines
    from triptych.commands.sweep import Sweep
    from triptych.commands.work_console import WorkConsole
    from triptych.runs import Run

    console = WorkConsole(partial(say, options), quiet=options.quiet)
    sweeps: list[Sweep] = []
    judges: dict[tuple, Judge] = {}
    for folder in dict.fromkeys(options.runs):  # everything is checked before the first image is drawn
        opened = Run(folder, options.data.path, console)
        warn_of_guess(opened)
        sweeps.append(Sweep(opened, options, ranks, console, judges))
    refuse_unlike(sweeps, options)
    found = measured([row for sweep in sweeps for row in sweep.rows()], options, ranks)
    if options.confirm is not None:
        say(options, *verdict_lines(found))
        metric = next(iter(sweeps[0].metrics))
        best = winners(found, metric, options.confirm)
        if not best:
            remedy = "name a metric first in --metrics that they have"
            raise UserError(f"--confirm {options.confirm}", f"no row has {metric}", remedy)
        say(options, f"confirming the best {len(best)} by {metric}, with fresh noise:")
        confirmed = measured([row.sweep.fresh(row) for row in best], options, ranks)
        say(options, *verdict_lines(confirmed))
        say(options, "report the confirmed figures: those by which rows were chosen are flattered by chance")
        return [row.row for row in (*found, *confirmed)]
    say(options, *verdict_lines(found))
    return [row.row for row in found]


def winners(measured: Sequence[Measured], metric: str, count: int) -> list[Asked]:
    """Return the settings with the best figures of a metric, best first: of several seeds, by their mean."""
    from triptych.evaluation.selection import best_settings

    asked = {id(found.row): found.asked for found in measured}
    return [asked[id(row)] for row in best_settings([found.row for found in measured], metric)[:count]]


def refuse_unlike(sweeps: Sequence[Sweep], options: EvaluateOptions) -> None:
    """Raise `UserError` where the best of rows that cannot be compared would be chosen."""
    against = {(sweep.dataset.train.digest, sweep.protocol, *sweep.metrics) for sweep in sweeps}
    if options.confirm is not None and len(against) > 1:
        found = (
            "the runs are measured against different images, of different numbers, or by different metrics"
        )
        raise UserError(f"--confirm {options.confirm}", found, "evaluate them one by one")


def measured(asked: Sequence[Asked], options: EvaluateOptions, ranks: Ranks) -> list[Measured]:
    """Return rows, after saying what those will take that the record does not hold."""
    from triptych.commands.evaluation_lines import forced_lines, line_of, quote
    from triptych.commands.sweep import Measured
    from triptych.report.numbers import duration

    known = ranks.lead(lambda: already(asked))
    missing = [row for row, there in zip(asked, known, strict=True) if there is None]
    say(options, ranks.lead(lambda: quote(missing, len(asked))))
    say(options, *forced_lines(asked[0].judge.yardstick, asked[0].request.count, asked[0].shown_classes))
    start, found = time.perf_counter(), []
    for row, there in zip(asked, known, strict=True):
        silent = options.quiet or options.json or not sys.stderr.isatty()
        found.append(Measured(row, there or row.sweep.measure(row, silent=silent)))
        whose = called(row.sweep.run.folder, options.runs)
        of_run = f"{whose}  " if len(options.runs) > 1 else ""
        say(options, of_run + line_of(found[-1].row) + ("  (from the record)" if there else ""))
    if missing:
        say(options, f"measured in {duration(time.perf_counter() - start)}")
    return found


def already(asked: Sequence[Asked]) -> list[Evaluated | None]:
    """Return what records hold of rows; None: it is to be measured."""
    known = [row.sweep.known(row) for row in asked]
    for row, there in zip(asked, known, strict=True):
        if there is not None:
            tidy(row)
    return known


def tidy(asked: Asked) -> None:
    """Remove the features of a known row where a kill right after it was recorded left them.

    Those are whole and older than the record's row. Others are of a row of further metrics, or of one that is
    measured again, perhaps by a process that runs now.
    """
    from triptych.evaluation.judge import row_key
    from triptych.record.events import Evaluated

    finished = asked.store.finished()
    if finished is None:
        return
    rows = asked.sweep.run.record.history().of_kind(Evaluated)
    mine = [row.seconds for row in rows if row_key(row.data.passport) == row_key(asked.passport)]
    if any(seconds >= finished for seconds in mine):
        asked.store.remove()


def warn_of_guess(opened: Run) -> None:
    """Warn where an imported model is measured against images that nobody said to be like its own."""
    origin, data = opened.record.history().imported, opened.experiment.data
    said = data.path or opened.data_path
    if origin and origin.data_guessed and data.name == origin.data.name and not said:
        found = f"measured against {data.name} for the size of its images alone"
        remedy = "say what they are with --data.path, or import it again with --data.name and another --name"
        warnings.warn(f"evaluate {opened.folder}: {found}; {remedy}", stacklevel=2)


def say(options: EvaluateOptions, *lines: str) -> None:
    """Print lines: to standard output, or to standard error where that is kept for JSON."""
    for line in () if options.quiet else lines:
        print(line, file=sys.stderr if options.json else sys.stdout, flush=True)
