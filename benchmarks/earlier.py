"""Two sessions beside each other: what has become faster or slower since.

Times of two sessions are not paired: the machine may have been busier in one. Ratios to a variant of the same
session are, and so are shares of a ceiling; they differ where their intervals have nothing in common.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.table import aligned
from triptych.commands.bench import BenchOptions
from triptych.errors import UserError

SAME = ("hardware", "device", "threads", "torch", "kernels", "dtype", "allocator", "quick")
"""What of a machine has to be the same for figures to mean the same."""
KINDS = {
    "ratio": "higher is slower, beside the variant whose ratio is 1",
    "ceiling": "higher is nearer to the ceiling",
}
VERDICTS = (
    "higher, lower: the intervals have nothing in common. The machine did other things meanwhile, so that "
    "unchanged code is now and then called one of them."
)


class Key(NamedTuple):
    """A figure of a session."""

    case: str
    comparison: str
    variant: str
    kind: str


class Figure(NamedTuple):
    """A median and its interval; NaN where there were too few rounds for one."""

    median: float
    low: float
    high: float


def read(file: Path) -> dict[str, Any]:
    """Return what an earlier session wrote.

    Raises:
        UserError: it is not such a file.
    """
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        figures(told)
        told["machine"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"--against {file}", "it is no file of measurements", "name one that --json wrote"
        ) from error
    return told


def check(before: Mapping[str, Any], wanted: Mapping[str, object], options: BenchOptions) -> None:
    """Raise `UserError` where nothing that is wanted can be held against an earlier session."""
    sizes = {True: "tiny sizes, by --quick", False: "full size"}
    then = before["machine"].get("quick", "no") != "no"
    if then != options.quick:
        found = f"it was measured in {sizes[then]}, and this session in {sizes[not then]}"
        raise UserError(f"--against {options.against}", found, "measure both alike")
    if not wanted.keys() & before["cases"].keys():
        found = f"it has other cases: {', '.join(before['cases']) or 'none'}"
        raise UserError(f"--against {options.against}", found, "choose one of them, or another file")


def compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a line for each figure that both sessions have, and how far the two can be compared."""
    old, new = figures(before), figures(now)
    lines = [["then and now", "", "then", "now", ""]]
    for key in new:
        if key in old:
            name = f"{key.case}, {key.comparison}: {key.variant}"
            lines.append([name, key.kind, shown(old[key]), shown(new[key]), verdict(old[key], new[key])])
    if len(lines) == 1:
        return "no figure of this session is in the earlier one"
    unlike = [
        f"  measured with another {title}: {before['machine'][title]}, now {now['machine'][title]}"
        for title in SAME
        # What an older release did not tell yet cannot be compared.
        if {title} <= before["machine"].keys() & now["machine"].keys()
        and before["machine"][title] != now["machine"][title]
    ]
    noted_then, noted_now = notes(before), notes(now)
    unlike += [
        f"  measured against another {name}: {noted_then[name]}, now {note}"
        for name, note in noted_now.items()
        if noted_then.get(name, note) != note
    ]
    legend = [*(f"  {kind}: {said}" for kind, said in KINDS.items()), f"  {VERDICTS}"]
    return "\n".join([*aligned(lines), *legend, *unlike])


def notes(told: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known of each variant, such as the release of a peer."""
    return {
        variant["name"]: variant.get("note", "")
        for held in told["cases"].values()
        for comparison in held["comparisons"]
        for variant in comparison["variants"]
    }


def figures(told: Mapping[str, Any]) -> dict[Key, Figure]:
    """Return every ratio and share of a session."""
    return dict(_figures(told))


def _figures(told: Mapping[str, Any]) -> Iterator[tuple[Key, Figure]]:
    for case, held in told["cases"].items():
        for comparison in held["comparisons"]:
            sizes = f"{comparison['title']}, batch {comparison['batch']}"
            for variant in comparison["variants"]:
                for kind in KINDS:
                    if kind in variant:
                        interval = variant[kind]["interval"] or {"low": float("nan"), "high": float("nan")}
                        values = variant[kind]["median"], interval["low"], interval["high"]
                        figure = Figure(*map(float, values))
                        yield Key(case, sizes, variant["name"], kind), figure


def shown(figure: Figure) -> str:
    """Return a figure as text."""
    interval = "" if figure.low != figure.low else f" ({figure.low:.3f} to {figure.high:.3f})"
    return f"{figure.median:.3f}{interval}"


def verdict(then: Figure, now: Figure) -> str:
    """Return whether a figure has changed."""
    if any(edge != edge for edge in (*then, *now)):
        return "too few rounds"
    if now.low > then.high:
        return "higher"
    return "lower" if now.high < then.low else "not told apart"
