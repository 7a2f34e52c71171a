"""Comparisons into figures: time and ratio, agreement, memory, and how memory grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import CASES
from benchmarks.comparison import WARM_UP, Absent, Call, Comparison
from benchmarks.memory import extra_peak_apart, unmeasurable
from benchmarks.pairs import Ratio, Spread, exponent, interleaved, paired_ratio, spread
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
    difference: float | None = None
    """Largest difference from the results that it has to reproduce, in units of their largest entry."""
    extra_bytes: int | None = None
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
        names = ("title", "tokens", "batch", "base", "series", "dtype")
        sizes = {name: getattr(self.comparison, name) for name in names}
        rounds = {"rounds": self.rounds, "warm_up": WARM_UP} if self.comparison.timed else {}
        return {**sizes, **rounds, "variants": [plain_row(row) for row in self.rows]}


def plain_row(row: Row) -> dict[str, Any]:
    """Return a row as numbers, texts, lists and dictionaries."""
    fields = {name: value for name, value in asdict(row).items() if value not in (None, "", ())}
    if row.milliseconds is not None:
        fields["milliseconds"] = row.milliseconds._asdict()
    if row.ratio is not None:
        interval = row.ratio.interval
        fields["ratio"] = {
            "median": row.ratio.median,
            "interval": interval._asdict() if interval else None,
        }
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
    seconds, differences = _times(comparison, rounds) if comparison.timed else ({}, {})
    rows = []
    for name, variant in comparison.variants.items():
        if isinstance(variant.make, Absent):
            rows.append(Row(name, absent=variant.make.why))
            continue
        died = "the process that was to tell its memory died" if extra.get(name, 0) is None else ""
        note = "; ".join(filter(None, [variant.note, died]))
        row = Row(name, note=note, facts=variant.facts(), extra_bytes=extra.get(name))
        if times := seconds.get(name):
            milliseconds = [1000 * one for one in times]
            ratio = None if name == comparison.base else paired_ratio(times, seconds[comparison.base])
            row = replace(
                row,
                milliseconds=spread(milliseconds),
                ratio=ratio,
                difference=differences.get(name),
                times=milliseconds,
            )
        rows.append(row)
    return Result(comparison, rounds, rows)


def _memory(case: str, index: int, comparison: Comparison, options: BenchOptions) -> dict[str, int | None]:
    """Return the peak extra bytes of each variant that is there."""
    if not options.memory or unmeasurable():
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


def _times(comparison: Comparison, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the seconds of each variant that is there, and how far results are from what they should be."""
    calls: dict[str, Call] = {
        name: variant.make()
        for name, variant in comparison.variants.items()
        if not isinstance(variant.make, Absent)
    }
    likes = {name: comparison.variants[name].like for name in calls if comparison.variants[name].like}
    differences = {name: largest_difference(calls[name](), calls[like]()) for name, like in likes.items()}
    return interleaved(calls, rounds, WARM_UP), differences


def largest_difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest difference between tensors, in units of the largest entry of each expected one."""
    pairs = zip(found, expected, strict=True)
    # By torch, whose maximum is not a number where one of them is none: Python's might pass over it.
    return float(torch.stack([(one - other).abs().max() / other.abs().max() for one, other in pairs]).max())


@dataclass(frozen=True)
class Series:
    """How the memory of variants grows with the number of tokens."""

    name: str
    batch: int
    tokens: list[int]
    extra_bytes: dict[str, list[int]]
    absent: dict[str, str]
    exponents: dict[str, float | None]
    """Power of the number of tokens that memory grows with."""

    def plain(self) -> dict[str, Any]:
        """Return it as numbers, texts, lists and dictionaries."""
        return asdict(self)


def slopes(results: Sequence[Result]) -> list[Series]:
    """Return the series among some results, in their order."""
    found = []
    for name in dict.fromkeys(result.comparison.series for result in results):
        if not name:
            continue
        ours = [result for result in results if result.comparison.series == name]
        tokens = [result.comparison.tokens for result in ours]
        extra: dict[str, list[int]] = {}
        absent: dict[str, str] = {}
        for rows in zip(*(result.rows for result in ours), strict=True):
            amounts = [row.extra_bytes for row in rows if row.extra_bytes is not None]
            if len(amounts) == len(tokens):
                extra[rows[0].name] = amounts
            else:
                absent[rows[0].name] = rows[0].absent or "not measured"
        exponents = {variant: exponent(tokens, amounts) for variant, amounts in extra.items()}
        found.append(Series(name, ours[0].comparison.batch, tokens, extra, absent, exponents))
    return found
