"""Comparisons into figures: time and ratio, share of a ceiling, agreement, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.cases import CASES
from benchmarks.ceilings import Ceiling, ceilings
from benchmarks.comparison import Absent, Call, Comparison, Noted, Operations
from benchmarks.memory import extra_peak_apart, extra_peak_on, unmeasurable
from benchmarks.operations import shares_of
from benchmarks.pairs import Ratio, Spread, interleaved, paired_ratio, spread
from benchmarks.rank_steps import RankSteps
from triptych.commands.bench import BenchOptions
from triptych.devices import synchronize

QUICK_ROUNDS = 2
PER_SECOND = "images/s"
"""Title of the column that tells how many images the median time makes."""


@dataclass(frozen=True)
class Row:
    """What was measured of a variant."""

    name: str
    absent: str = ""
    """Why it could not be measured; empty where it was."""
    note: str = ""
    facts: Mapping[str, float] | None = None
    milliseconds: Spread | None = None
    ratio: Ratio | None = None
    ceiling: Ratio | None = None
    """Of the machine's ceiling: the time that its operations would take there, as a share of its own."""
    difference: float | None = None
    """Largest difference from the results that it has to reproduce, in units of their largest entry."""
    extra_bytes: int | None = None
    shares: Mapping[str, float] | None = None
    """Of the time of one call, by operation, the largest first."""
    times: Sequence[float] = ()
    """Every single one, in milliseconds."""


@dataclass(frozen=True)
class Result:
    """What was measured of a comparison."""

    comparison: Comparison
    rounds: int
    rows: list[Row]

    def plain(self) -> dict[str, Any]:
        """Return it as numbers, texts, lists and dictionaries."""
        comparison = self.comparison
        names = ("title", "tokens", "batch", "images", "base", "series", "axis", "size", "dtype")
        sizes = {name: getattr(comparison, name) for name in names} | {"device": str(comparison.device)}
        rounds = {"rounds": self.rounds, "warm_up": comparison.warm_up} if comparison.timed else {}
        return {**sizes, **rounds, "variants": [plain_row(row) for row in self.rows]}


def plain_row(row: Row) -> dict[str, Any]:
    """Return a row as numbers, texts, lists and dictionaries."""
    fields = {name: value for name, value in asdict(row).items() if value not in (None, "", ())}
    if row.milliseconds is not None:
        fields["milliseconds"] = row.milliseconds._asdict()
    for name, ratio in {"ratio": row.ratio, "ceiling": row.ceiling}.items():
        if ratio is not None:
            interval = ratio.interval._asdict() if ratio.interval else None
            fields[name] = {"median": ratio.median, "interval": interval}
    return fields


def measured(case: str, index: int, comparison: Comparison, options: BenchOptions) -> Result:
    """Return what comparison number `index` of a case comes to.

    Args:
        case: name of the case.
        index: number of the comparison among the case's.
        comparison: what is measured.
        options: how.
    """
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else comparison.rounds)
    # First, while this process is small: two large ones might not find room.
    extra = _memory(case, index, comparison, options)
    times = _times(comparison, rounds, options) if comparison.timed else None
    rows = []
    for name, variant in comparison.variants.items():
        if isinstance(variant.make, Absent):
            rows.append(Row(name, absent=variant.make.why))
            continue
        if times and name in times.absent:
            rows.append(Row(name, absent=times.absent[name]))
            continue
        died = "the process that was to tell its memory died" if extra.get(name, 0) is None else ""
        found = times.notes.get(name, "") if times else ""
        note = "; ".join(filter(None, [variant.note, found, died]))
        row = Row(name, note=note, facts=variant.facts(), extra_bytes=extra.get(name))
        rows.append(times.told(row, comparison.base, comparison.images) if times else row)
    return Result(comparison, rounds, rows)


def _memory(case: str, index: int, comparison: Comparison, options: BenchOptions) -> dict[str, int | None]:
    """Return the peak extra bytes of each variant that is there, on the processor."""
    on_gpu = comparison.device.type == "cuda"  # which tells while time is measured
    if not (options.memory and comparison.weighed) or on_gpu or unmeasurable():
        return {}
    return {
        name: extra_peak_apart(partial(made_apart, case, index, name, options))
        for name, variant in comparison.variants.items()
        if not isinstance(variant.make, Absent)
    }


def made_apart(case: str, index: int, variant: str, options: BenchOptions) -> Call:
    """Return what a variant makes, in a process that knows its names alone."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    make = CASES[case].comparisons(options)[index].variants[variant].make
    assert not isinstance(make, Absent), "what is absent is not measured"
    made = make()
    assert not isinstance(made, Absent), made.why
    return made.call if isinstance(made, Noted) else made


class Times(NamedTuple):
    """What was timed in one process."""

    seconds: Mapping[str, Sequence[float]]
    """Of each variant, a number per round."""
    ideal: Mapping[str, Sequence[float]]
    """Of each variant that has a ceiling: what its operations would have taken there in the same round."""
    differences: Mapping[str, float]
    shares: Mapping[str, Mapping[str, float]]
    extra_bytes: Mapping[str, int] = {}
    """Of each variant that a GPU computed, or several processes."""
    absent: Mapping[str, str] = {}
    """Variants that could not be made, and why."""
    notes: Mapping[str, str] = {}

    def told(self, row: Row, base: str, images: int = 0) -> Row:
        """Return the row of a variant with its figures, as ratios to that of `base`.

        Args:
            row: what is known of it already.
            base: name of the other.
            images: of a call, to be told per second; 0: they are not.
        """
        seconds = self.seconds[row.name]
        milliseconds = [1000 * one for one in seconds]
        ideal, median = self.ideal.get(row.name), spread(seconds).median
        paired = row.name != base and base in self.seconds
        return replace(
            row,
            facts={**(row.facts or {}), PER_SECOND: images / median} if images else row.facts,
            milliseconds=spread(milliseconds),
            ratio=paired_ratio(seconds, self.seconds[base]) if paired else None,
            extra_bytes=self.extra_bytes.get(row.name, row.extra_bytes),
            ceiling=paired_ratio(ideal, seconds) if ideal else None,
            difference=self.differences.get(row.name),
            shares=self.shares.get(row.name),
            times=milliseconds,
        )


def _times(comparison: Comparison, rounds: int, options: BenchOptions) -> Times:
    """Return the times of each variant that is there, and how far results are from what they should be."""
    calls, absent, notes = _made(comparison)
    if not calls:
        return Times({}, {}, {}, {}, {}, absent)
    device = comparison.device
    likes = {name: comparison.variants[name].like for name in calls if comparison.variants[name].like}
    differences = {name: largest_difference(calls[name](), calls[like]()) for name, like in likes.items()}
    operations = {name: comparison.variants[name].operations() for name in calls}
    bounds = {
        kind: one
        for kind, one in ceilings(options.quick, device).items()
        if any(kind in o for o in operations.values())
    }
    probes = {f"ceiling: {kind}": bound.make() for kind, bound in bounds.items()}
    every = {**calls, **probes}
    seconds = interleaved(every, rounds, comparison.warm_up, wait=lambda: synchronize(device))
    at_ceilings = {kind: seconds.pop(f"ceiling: {kind}") for kind in bounds}
    ideals = {name: ideal(amounts, bounds, at_ceilings) for name, amounts in operations.items() if amounts}
    shares = {name: shares_of(call, device) for name, call in calls.items()} if options.profile else {}
    weighed = device.type == "cuda" and options.memory and comparison.weighed
    extra = {name: extra_peak_on(device, call) for name, call in calls.items()} if weighed else {}
    if options.memory and not unmeasurable():
        extra |= {name: call.extra_peak() for name, call in calls.items() if isinstance(call, RankSteps)}
    return Times(seconds, ideals, differences, shares, extra, absent, notes)


def _made(comparison: Comparison) -> tuple[dict[str, Call], dict[str, str], dict[str, str]]:
    """Make the variants; return calls, reasons why others are absent, and notes, each by name."""
    calls: dict[str, Call] = {}
    absent, notes = {}, {}
    for name, variant in comparison.variants.items():
        made = variant.make if isinstance(variant.make, Absent) else variant.make()
        if isinstance(made, Absent):
            absent[name] = made.why
            continue
        if isinstance(made, Noted):
            made, notes[name] = made
        calls[name] = made
    return calls, absent, notes


def ideal(
    amounts: Operations, bounds: Mapping[str, Ceiling], seconds: Mapping[str, Sequence[float]]
) -> list[float]:
    """Return the seconds that so much of each kind takes at the ceilings, by round."""
    shares = {kind: amount / bounds[kind].amount for kind, amount in amounts.items()}
    rounds = zip(*(seconds[kind] for kind in shares), strict=True)
    return [sum(share * one for share, one in zip(shares.values(), each, strict=True)) for each in rounds]


def largest_difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest difference between tensors, in units of the largest entry of each expected one."""
    pairs = zip(found, expected, strict=True)
    # By torch, whose maximum is not a number where one of them is none: Python's might pass over it.
    return float(torch.stack([(one - other).abs().max() / other.abs().max() for one, other in pairs]).max())
