"""Figures as aligned text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.ceilings import Ceiling
from benchmarks.comparison import Comparison
from benchmarks.growth import Series
from benchmarks.measure import Result, Row
from benchmarks.pairs import Ratio, Spread

NOTHING = "–"
MIB = 2**20
CEILING = (
    "  ceiling: what its products, convolutions, copies take at the ceilings' rates, as a share of its time; "
    "a ceiling is the rate of one size, and another can be faster"
)
RATIO = "  ratio: the median of the ratios within each round, which need not be the ratio of the medians"


TITLES = ("median ms", "quartiles", "ratio", "interval", "ceiling", "interval", "differs", "extra MiB")


def of_facts(facts: Mapping[str, str]) -> str:
    """Return titles and what is said of each, a line each."""
    width = max(map(len, facts))
    return "\n".join(f"{title:{width}}  {said}" for title, said in facts.items())


def of_result(result: Result) -> str:
    """Return a comparison: its sizes, a line per variant, and what has to be known of them."""
    comparison, rows = result.comparison, result.rows
    there = [row for row in rows if not row.absent]
    head = (
        f"{comparison.title}: batch {comparison.batch}, {computed(comparison)}, "
        f"{result.rounds} rounds after {comparison.warm_up}; ratios to {comparison.base}"
    )
    titles = list(dict.fromkeys(title for row in there for title in row.facts or {}))
    lines = [["", *TITLES, *titles]] if there else []
    lines += [cells(row, titles) for row in there]
    bounded = [CEILING] if any(row.ceiling for row in there) else []
    paired = [RATIO] if any(row.ratio for row in there) else []
    absent = said([(row.name, f"absent ({row.absent})") for row in rows if row.absent])
    notes = said([(row.name, row.note) for row in there if row.note])
    shares = [f"  {row.name}: {of_shares(row.shares)}" for row in there if row.shares]
    return "\n".join([head, *aligned(lines), *paired, *bounded, *absent, *notes, *shares])


def computed(comparison: Comparison) -> str:
    """Return the numbers that a comparison is measured in, and on what, unless that is the processor."""
    return (
        comparison.dtype if comparison.device.type == "cpu" else f"{comparison.dtype} on {comparison.device}"
    )


def of_shares(shares: Mapping[str, float]) -> str:
    """Return where the time of a call goes."""
    return "time by operation: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())


def said(remarks: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each remark, after the names of all that it is made of."""
    names: dict[str, list[str]] = {}
    for name, remark in remarks:
        names.setdefault(remark, []).append(name)
    return [f"  {' | '.join(named)}: {remark}" for remark, named in names.items()]


def cells(row: Row, titles: Sequence[str]) -> list[str]:
    """Return a line of the table of a comparison."""
    time, quartiles = NOTHING, NOTHING
    if row.milliseconds is not None:
        time = figure(row.milliseconds.median)
        quartiles = f"{figure(row.milliseconds.lower)} .. {figure(row.milliseconds.upper)}"
    return [
        row.name,
        time,
        quartiles,
        *(("1", NOTHING) if row.ratio is None else of_ratio(row.ratio)),
        *((NOTHING, NOTHING) if row.ceiling is None else of_ratio(row.ceiling)),
        NOTHING if row.difference is None else f"{row.difference:.0e}",
        mebibytes(row.extra_bytes),
        *(figure((row.facts or {})[title]) if title in (row.facts or {}) else NOTHING for title in titles),
    ]


def of_ratio(ratio: Ratio) -> tuple[str, str]:
    """Return a ratio and its interval."""
    if ratio.interval is None:
        return f"{ratio.median:.3f}", "too few rounds"
    return f"{ratio.median:.3f}", f"{ratio.interval.low:.3f} .. {ratio.interval.high:.3f}"


def of_ceilings(found: Mapping[str, tuple[Ceiling, Spread]], title: str = "ceilings") -> str:
    """Return what the machine does at most: a line for each kind of work."""
    lines = [[title, "median", "quartiles", "", ""]]
    for kind, (ceiling, rate) in found.items():
        quartiles = f"{figure(rate.lower)} .. {figure(rate.upper)}"
        lines.append([kind, figure(rate.median), quartiles, ceiling.unit, ceiling.what])
    return "\n".join(aligned(lines))


def of_series(series: Series) -> str:
    """Return how a quantity grows: a line per variant, a column per size."""
    head = f"{series.name}: {series.quantity} by {series.axis}, and their power"
    lines = [["", *map(str, series.sizes), "power"]]
    for name, amounts in series.amounts.items():
        power = series.powers[name]
        lines.append([name, *map(figure, amounts), NOTHING if power is None else f"{power:.2f}"])
    absent = said([(name, f"absent ({why})") for name, why in series.absent.items()])
    return "\n".join([head, *aligned(lines), *absent])


def mebibytes(amount: int | None) -> str:
    """Return an amount of bytes."""
    return NOTHING if amount is None else figure(amount / MIB)


def figure(value: float) -> str:
    """Return a positive number with the digits that mean something: about three."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of cells below each other: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            [f"  {line[0]:{widths[0]}}"]
            + [f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True)]
        ).rstrip()
        for line in lines
    ]
