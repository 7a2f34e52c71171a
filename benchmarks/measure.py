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
from benchmarks.comparison import WARM_UP, Absent, Call, Comparison, Operations
from benchmarks.memory import extra_peak_apart, unmeasurable
from benchmarks.operations import shares_of
from benchmarks.pairs import Ratio, Spread, interleaved, paired_ratio, spread
from triptych.commands.bench import BenchOptions

QUICK_ROUNDS = 2


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
        names = ("title", "tokens", "batch", "base", "series", "axis", "size", "dtype")
        sizes = {name: getattr(self.comparison, name) for name in names}
        rounds = {"rounds": self.rounds, "warm_up": WARM_UP} if self.comparison.timed else {}
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
        died = "the process that was to tell its memory died" if extra.get(name, 0) is None else ""
        note = "; ".join(filter(None, [variant.note, died]))
        row = Row(name, note=note, facts=variant.facts(), extra_bytes=extra.get(name))
        rows.append(times.told(row, comparison.base) if times else row)
    return Result(comparison, rounds, rows)


def _memory(case: str, index: int, comparison: Comparison, options: BenchOptions) -> dict[str, int | None]:
    """Return the peak extra bytes of each variant that is there."""
    if not (options.memory and comparison.weighed) or unmeasurable():
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
    return make()


class Times(NamedTuple):
    """What was timed in one process."""

    seconds: Mapping[str, Sequence[float]]
    """Of each variant, a number per round."""
    ideal: Mapping[str, Sequence[float]]
    """Of each variant that has a ceiling: what its operations would have taken there in the same round."""
    differences: Mapping[str, float]
    shares: Mapping[str, Mapping[str, float]]

    def told(self, row: Row, base: str) -> Row:
        """Return the row of a variant with its figures, as ratios to that of `base`."""
        seconds = self.seconds[row.name]
        milliseconds = [1000 * one for one in seconds]
        ideal = self.ideal.get(row.name)
        return replace(
            row,
            milliseconds=spread(milliseconds),
            ratio=None if row.name == base else paired_ratio(seconds, self.seconds[base]),
            ceiling=paired_ratio(ideal, seconds) if ideal else None,
            difference=self.differences.get(row.name),
            shares=self.shares.get(row.name),
            times=milliseconds,
        )


def _times(comparison: Comparison, rounds: int, options: BenchOptions) -> Times:
    """Return the times of each variant that is there, and how far results are from what they should be."""
    calls: dict[str, Call] = {
        name: variant.make()
        for name, variant in comparison.variants.items()
        if not isinstance(variant.make, Absent)
    }
    likes = {name: comparison.variants[name].like for name in calls if comparison.variants[name].like}
    differences = {name: largest_difference(calls[name](), calls[like]()) for name, like in likes.items()}
    operations = {name: comparison.variants[name].operations() for name in calls}
    bounds = {
        kind: one
        for kind, one in ceilings(options.quick).items()
        if any(kind in o for o in operations.values())
    }
    probes = {f"ceiling: {kind}": bound.make() for kind, bound in bounds.items()}
    seconds = interleaved({**calls, **probes}, rounds, WARM_UP)
    at_ceilings = {kind: seconds.pop(f"ceiling: {kind}") for kind in bounds}
    ideals = {name: ideal(amounts, bounds, at_ceilings) for name, amounts in operations.items() if amounts}
    shares = {name: shares_of(call) for name, call in calls.items()} if options.profile else {}
    return Times(seconds, ideals, differences, shares)


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
