"""Several models at equal cost: what each had reached after as many images, and as many device-hours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from triptych.record.events import Event, HeldOut, Resumed, Started
from triptych.record.history import lowest_error
from triptych.report.canvas import COLOURS, fit_scale, legend, panels, quieten
from triptych.report.names import metric_name
from triptych.report.rows import Row, groups, headline, ranked, rows_of
from triptych.report.run import Run, trained_once

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HELD_OUT = "held-out MSE"
LEAST = 2
"""Models, and points of a line, that make a picture."""

Units = tuple[tuple[str, float], tuple[str, float]]
"""A unit with its factor, and a smaller one for where everything is less than one of it."""
UNITS: tuple[Units, Units] = (
    (("images seen (millions)", 1.0), ("images seen (thousands)", 1e3)),
    (("device-hours", 1.0), ("device-minutes", 60.0)),
)


@dataclass(frozen=True)
class Course:
    """A quantity of a model as its training went on: images seen in millions, device-hours, value."""

    name: str
    points: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Race:
    """One quantity of several models that can be held against each other by it."""

    title: str
    courses: tuple[Course, ...]


def races(runs: Sequence[tuple[str, Run]]) -> list[Race]:
    """Return what models can be compared by at equal cost: held-out error, and the figure that ranks them.

    Held-out errors are of the network's own quantity: only models that predict the same of the same images
    are set against each other by them.
    """
    trained = [(n, run) for n, run in trained_once(runs) if not run.history.imported and not run.written_in]
    kinds: dict[tuple, list[Course]] = {}
    for name, run in trained:
        kinds.setdefault(_kind(run), []).append(Course(name, _errors(run)))
    found = [Race(HELD_OUT, tuple(courses)) for courses in kinds.values()]
    for table in groups([row for name, run in trained for row in rows_of(run, name)]):
        metric = headline(table, across_models=True)
        if metric is not None:
            figures = [Course(name, _figures(run, table, metric)) for name, run in trained]
            found.append(Race(metric_name(metric).label, tuple(figures)))
    return [race for race in map(_drawable, found) if len(race.courses) >= LEAST]


def _drawable(race: Race) -> Race:
    kept = tuple(course for course in race.courses if len(course.points) >= LEAST)
    return Race(race.title, kept)


def draw_races(found: Sequence[Race], canvas: Figure) -> None:
    """Draw each race twice: against images seen, and against time of the devices; in units that fit."""
    canvas.set_size_inches(9.6, 3.2 * len(found))
    names = list(dict.fromkeys(course.name for race in found for course in race.courses))
    axes = iter(panels(canvas, len(found), 2))
    for race in found:
        for place, units in enumerate(UNITS):
            _draw(next(axes), race, place, units, names)
    legend(canvas)


def _draw(axes: Axes, race: Race, place: int, units: Units, names: Sequence[str]) -> None:
    most = max(point[place] for course in race.courses for point in course.points)
    label, factor = units[0] if most >= 1 else units[1]
    for course in race.courses:
        colour = COLOURS[names.index(course.name) % len(COLOURS)]
        x, y = [factor * point[place] for point in course.points], [point[2] for point in course.points]
        axes.plot(x, y, color=colour, lw=1.4, marker="o", ms=3, label=course.name)
    fit_scale(axes, [point[2] for course in race.courses for point in course.points], 3.0)
    quieten(axes, race.title, label)


def _kind(run: Run) -> tuple:
    """Return what held-out errors have to share to be comparable."""
    diffusion = [run.setting("diffusion", name) for name in ("schedule", "prediction")]
    return run.origin.data.digest, *map(str, diffusion)


def _errors(run: Run) -> tuple[tuple[float, float, float], ...]:
    hours = hours_of(run)
    events = [event for event in run.history.of_kind(HeldOut) if not math.isnan(lowest_error(event.data)[0])]
    return tuple((_images(run, event.step), hours(event), lowest_error(event.data)[0]) for event in events)


def _figures(run: Run, table: Sequence[Row], metric: str) -> tuple[tuple[float, float, float], ...]:
    """Return the best figure of each evaluated checkpoint, at what it had cost to come there."""
    hours = hours_of(run)
    reached = {event.step: hours(event) for event in run.history.of_kind(HeldOut)}
    best: dict[int, float] = {}
    for _, row, figure in ranked([row for row in table if row.run is run], metric):
        best.setdefault(row.event.step, figure.estimate)
    known = sorted(step for step in best if step in reached)
    return tuple((_images(run, step), reached[step], best[step]) for step in known)


def _images(run: Run, step: int) -> float:
    return run.epoch(step) * run.origin.data.train_images / 1e6


def hours_of(run: Run) -> Callable[[Event], float]:
    """Return a function of a run's events: device-hours spent until then, those that were lost included."""
    starts = {e.attempt: e.seconds for e in run.history.events if isinstance(e.data, Started | Resumed)}
    before: dict[int, float] = {}
    devices: dict[int, int] = {}
    spent = 0.0
    for attempt in run.attempts:
        before[attempt.number], devices[attempt.number] = spent, attempt.device.used
        spent += attempt.seconds * attempt.device.used / 3600
    return lambda event: (
        before[event.attempt] + (event.seconds - starts[event.attempt]) * devices[event.attempt] / 3600
    )
