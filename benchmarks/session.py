"""A session of the benchmarks: cases measured, printed and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import earlier, table
from benchmarks.cases import CASES
from benchmarks.ceilings import measured_ceilings
from benchmarks.comparison import CPU, ROUNDS, Comparison
from benchmarks.growth import slopes
from benchmarks.machine import facts
from benchmarks.measure import QUICK_ROUNDS, measured
from benchmarks.on_device import chosen, clear, out_of_reach
from triptych.allocator import keep_freed_memory
from triptych.commands.bench import BenchOptions
from triptych.errors import UserError


def run(options: BenchOptions) -> None:
    """Measure the chosen cases, one after another; print each, and keep the file of them up to date.

    Raises:
        UserError: a case is asked for that there is not, or that cannot be measured here, or a device that is
            not there.
    """
    wanted = chosen_cases(options)
    if options.list:
        print("\n".join(_listed(wanted)))
        return
    before = earlier.read(options.against) if options.against else {}
    if options.against:
        earlier.check(before, wanted, options)
    if not options.plain_allocator:
        keep_freed_memory()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = chosen(options)
    told: dict[str, Any] = {"machine": facts(options), "cases": {}}
    print(table.of_facts(told["machine"]), flush=True)
    _measure_ceilings(told, {device if CASES[name].on_device else CPU for name in wanted}, options)
    write(options.json, told)
    for name, chosen_ones in wanted.items():
        case = CASES[name]
        place = "" if case.on_device and device != CPU else " (on the processor)"
        print(f"\n{name}: {case.what}{place}", flush=True)
        results = []
        kept: dict[str, Any] = {"what": case.what, "comparisons": [], "series": []}
        told["cases"][name] = kept
        for index, comparison in chosen_ones:
            results.append(measured(name, index, comparison, options))
            clear(comparison.device)
            if comparison.timed:
                print(f"\n{table.of_result(results[-1])}", flush=True)
            kept["comparisons"].append(results[-1].plain())
            write(options.json, told)
        for one in slopes(results):
            print(f"\n{table.of_series(one)}", flush=True)
            kept["series"].append(one.plain())
        write(options.json, told)
    if options.against:
        print(f"\n{earlier.compared(before, told)}", flush=True)


def chosen_cases(options: BenchOptions) -> dict[str, list[tuple[int, Comparison]]]:
    """Return the comparisons that are asked for, with their numbers in their case, by its name.

    Without cases that cannot be measured here, which are listed all the same.

    Raises:
        UserError: none are left, or a case that is named is not there, or cannot be measured here.
    """
    for name in options.only:
        if name not in CASES:
            raise UserError(f"--only {name}", "no such case", f"choose from {', '.join(CASES)}")
    absent, left_out = out_of_reach(options), []
    names = list(options.only or CASES)
    if absent and not options.list:
        for name in options.only:
            if CASES[name].on_device:
                raise UserError(f"--only {name}", absent.why, "choose --quick, or another case")
        left_out = [name for name in names if CASES[name].on_device and _wanted(name, options)]
        names = [name for name in names if not CASES[name].on_device]
    wanted = {name: found for name in names if (found := _wanted(name, options))}
    if absent and left_out and not wanted:
        raise UserError(f"--matching {options.matching}", absent.why, "choose --quick, or another comparison")
    if not wanted:
        found = "no comparison of these cases has that in its title"
        raise UserError(f"--matching {options.matching}", found, "--list tells the titles")
    return wanted


def _listed(wanted: Mapping[str, Sequence[tuple[int, Comparison]]]) -> list[str]:
    """Return a line for each case and one for each of its comparisons."""
    lines = []
    for name, comparisons in wanted.items():
        lines += [f"{name}: {CASES[name].what}", *(f"  {one.title}" for _, one in comparisons)]
    return lines


def _wanted(name: str, options: BenchOptions) -> list[tuple[int, Comparison]]:
    """Return the comparisons of a case that are asked for, with their numbers in it."""
    every = enumerate(CASES[name].comparisons(options))
    return [(index, one) for index, one in every if options.matching in one.title]


def _measure_ceilings(told: dict[str, Any], devices: set[torch.device], options: BenchOptions) -> None:
    """Measure, print and keep what each of these devices does at most."""
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    for device in sorted(devices, key=str):
        title = "ceilings" if device == CPU else f"ceilings of {device}"
        bounds = measured_ceilings(rounds, options.quick, device)
        told[title] = {
            kind: {"what": bound.what, "unit": bound.unit, **rate._asdict()}
            for kind, (bound, rate) in bounds.items()
        }
        print(f"\n{table.of_ceilings(bounds, title)}", flush=True)


def write(file: Path | None, told: dict[str, Any]) -> None:
    """Write what was measured so far, so that a long run that is broken off has left something whole."""
    if file is not None:
        aside = file.with_name(f"{file.name}.writing")
        aside.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, file)
