"""How time and memory grow: comparisons that differ in one size, and the power of it that fits them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.measure import Result, Row
from benchmarks.pairs import exponent


def _time(row: Row) -> float | None:
    return None if row.milliseconds is None else row.milliseconds.median


def _memory(row: Row) -> float | None:
    return None if row.extra_bytes is None else row.extra_bytes / 2**20


QUANTITIES: dict[str, Callable[[Row], float | None]] = {"median ms": _time, "extra MiB": _memory}


@dataclass(frozen=True)
class Series:
    """How one quantity of the variants grows."""

    name: str
    quantity: str
    axis: str
    """The size that it grows with."""
    sizes: list[int]
    amounts: Mapping[str, list[float]]
    """Of each variant, an amount per size."""
    absent: Mapping[str, str]
    """Variants without, and why."""
    powers: Mapping[str, float | None]
    """Power of the size that each grows with."""

    def plain(self) -> dict[str, Any]:
        """Return it as numbers, texts, lists and dictionaries."""
        return asdict(self)


def slopes(results: Sequence[Result]) -> list[Series]:
    """Return the series among some results, in their order: every quantity that was measured."""
    found = []
    for name in dict.fromkeys(result.comparison.series for result in results if result.comparison.series):
        ours = [result for result in results if result.comparison.series == name]
        for quantity, of_row in QUANTITIES.items():
            series = _series(ours, quantity, of_row)
            if series.amounts:
                found.append(series)
    return found


def _series(results: Sequence[Result], quantity: str, of_row: Callable[[Row], float | None]) -> Series:
    """Return how one quantity grows over the comparisons of a series."""
    first, sizes = results[0].comparison, [result.comparison.size for result in results]
    amounts: dict[str, list[float]] = {}
    absent: dict[str, str] = {}
    for rows in zip(*(result.rows for result in results), strict=True):
        values = [value for row in rows if (value := of_row(row)) is not None]
        if len(values) == len(sizes):
            amounts[rows[0].name] = values
        else:
            absent[rows[0].name] = rows[0].absent or "not measured"
    powers = {variant: exponent(sizes, values) for variant, values in amounts.items()}
    return Series(first.series, quantity, first.axis, sizes, amounts, absent, powers)
