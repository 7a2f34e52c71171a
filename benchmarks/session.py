"""A session of the benchmarks: cases measured, printed and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks import earlier, table
from benchmarks.cases import CASES
from benchmarks.ceilings import measured_ceilings
from benchmarks.comparison import ROUNDS
from benchmarks.growth import slopes
from benchmarks.machine import facts
from benchmarks.measure import QUICK_ROUNDS, measured
from triptych.allocator import keep_freed_memory
from triptych.commands.bench import BenchOptions
from triptych.errors import UserError


def run(options: BenchOptions) -> None:
    """Measure the chosen cases, one after another; print each, and keep the file of them up to date.

    Raises:
        UserError: a case is asked for that there is not.
    """
    for name in options.only:
        if name not in CASES:
            raise UserError(f"--only {name}", "no such case", f"choose from {', '.join(CASES)}")
    before = earlier.read(options.against) if options.against else {}
    if not options.plain_allocator:
        keep_freed_memory()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    told: dict[str, Any] = {"machine": facts(options), "cases": {}}
    print(table.of_facts(told["machine"]), flush=True)
    bounds = measured_ceilings(options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS), options.quick)
    told["ceilings"] = {
        kind: {"what": bound.what, "unit": bound.unit, **rate._asdict()}
        for kind, (bound, rate) in bounds.items()
    }
    print(f"\n{table.of_ceilings(bounds)}", flush=True)
    for name in options.only or CASES:
        case = CASES[name]
        print(f"\n{name}: {case.what}", flush=True)
        results = []
        for index, comparison in enumerate(case.comparisons(options)):
            results.append(measured(name, index, comparison, options))
            if comparison.timed:
                print(f"\n{table.of_result(results[-1])}", flush=True)
        series = slopes(results)
        for one in series:
            print(f"\n{table.of_series(one)}", flush=True)
        told["cases"][name] = {
            "what": case.what,
            "comparisons": [result.plain() for result in results],
            "series": [one.plain() for one in series],
        }
        write(options.json, told)
    if options.against:
        print(f"\n{earlier.compared(before, told)}", flush=True)


def write(file: Path | None, told: dict[str, Any]) -> None:
    """Write what was measured so far, so that a long run that is broken off has left something."""
    if file is not None:
        file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
