"""What is printed of an evaluation: what it will take, its rows, and what they say of one another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from triptych.commands.run_folders import called
from triptych.errors import UserError
from triptych.evaluation.agreement import agreement
from triptych.evaluation.cost import Cost
from triptych.evaluation.selection import best_rows, comparable, figure_of, loss
from triptych.evaluation.weights import USUAL
from triptych.evaluation.yardstick import Yardstick
from triptych.record import verdict
from triptych.record.events import Evaluated, Figure, HeldOut, Passport
from triptych.report.names import metric_name, scale_name
from triptych.report.numbers import duration, uncertain
from triptych.report.numbers import figure as in_digits
from triptych.runs import Run
from triptych.training.disk import size

if TYPE_CHECKING:
    from triptych.commands.sweep import Asked, Measured


WORTH_TELLING = 1e9
"""Bytes of disk from which an evaluation says that it takes them."""


def quote(missing: Sequence[Asked], count: int) -> str:
    """Return what is said before the first image, measuring what is real and a little of the rest for it.

    Args:
        missing: rows that are still to be measured.
        count: of all rows.
    """
    text = f"{count} row{'s' if count > 1 else ''}"
    if not missing:
        return f"{text}, all in the record"
    images = sorted({row.request.count for row in missing})
    text += f" of {' or '.join(f'{number:,}' for number in images)} images"
    text += f", {len(missing)} to measure" if len(missing) < count else ""
    kept = max(map(disk, missing))
    cost = sum((row.sweep.cost(row) for row in missing), Cost())
    parts = f"{duration(cost.drawing)} to draw, {duration(cost.measuring)} to measure"
    features = f", and {size(kept)} of disk for features" if kept >= WORTH_TELLING else ""
    return f"{text}: about {duration(cost.total)} ({parts}){features}"


def disk(row: Asked) -> int:
    """Return the bytes of disk that a row takes while it is measured; UserError: fewer are free."""
    need, folder = row.judge.disk(row.request), row.sweep.folder
    left = row.judge.store(row.request, row.passport, folder).folder.glob("*")  # by a kill, to be used
    there = sum(path.stat().st_blocks * 512 for path in left)  # a file with holes takes less than its size
    free = shutil.disk_usage(folder.parent).free
    if need > free + there:
        asked = f"keep the features of {row.request.count:,} images, {size(need)}"
        remedy = "free some, ask for fewer images with --count, or for other --metrics"
        raise UserError(asked, f"{size(free)} are free in {folder.parent}", remedy)
    return need


def forced_lines(yardstick: Yardstick, count: int, classes: int) -> list[str]:
    """Return which figures mean nothing by themselves, and are measured only because `--force` says so."""
    forced = yardstick.forced(count, classes) if yardstick.force else []
    return [f"by --force, of fewer images than they take: {', '.join(forced)}"] if forced else []


def line_of(row: Evaluated) -> str:
    """Return a row as one line to read."""
    passport = row.passport
    weights = "" if passport.weights == USUAL else f" ({passport.weights})"
    seed = f"  seed {passport.seed}" if passport.seed else ""
    figures = "  ".join(map(_figure_text, row.figures))
    seconds = row.generation_took + (row.measuring_took or 0.0)
    return (
        f"{passport.checkpoint}{weights}  {passport.sampler}  {scale_of(passport)}{seed}  {figures}  "
        f"{seconds:.1f} s"
    )


def verdict_lines(found: Sequence[Measured]) -> list[str]:
    """Return what rows say of one another.

    Which is best by each metric, and how sure that is; what the held-out error says of it; and what runs say
    together that differ in their training seed alone.
    """
    owner = {id(measured.row): measured.asked.sweep.run for measured in found}
    rows = [measured.row for measured in found]
    runs = list(dict.fromkeys(owner.values()))
    lines = []
    for metric, best in (best_rows(rows) if len(rows) > 1 else {}).items():
        of_best = called(owner[id(best.row)].folder, [run.folder for run in runs])
        whose = f"{of_best}, " if len(runs) > 1 else ""
        counts = [f"{len(best.ties)} not distinguishable from it"] if best.ties else []
        counts += [f"{len(best.worse)} worse"] if best.worse else []
        if best.ties and len(best.others) > 2:
            counts[0] += f" (at 95 % for all pairs of {len(best.others) + 1} together)"
        told = [f"best {metric}: {whose}{settings(best.row, best.seeds)}", ", ".join(counts)]
        lines.append("; ".join(filter(None, told)))
    metric = next(iter(found[0].asked.judge.yardstick.metrics))
    for run in runs:
        lines += _agreement(run, [row for row in rows if owner[id(row)] is run], metric)
    return [*lines, *_over_seeds(found, metric)]


def _figure_text(figure: Figure) -> str:
    decimals = metric_name(figure.metric).decimals
    text = f"{figure.metric} {uncertain(figure.estimate, figure.spread, decimals)}"
    if figure.real is None:
        return text
    of = f" of {figure.real_n:,}" if figure.real_n not in (None, figure.n) else ""
    return f"{text} (real {in_digits(figure.real, decimals)}{of})"


def scale_of(passport: Passport) -> str:
    """Return the guidance scale of a row, and how it guides where that is not everywhere alike."""
    return f"scale {scale_name(passport.guidance, passport.guide)}"


def settings(row: Evaluated, seeds: int = 1) -> str:
    """Return checkpoint, sampler and scale of a row, and its weights where they are not the usual ones.

    Of a mean over several seeds, their number stands in place of the seed.
    """
    passport = row.passport
    weights = "" if passport.weights == USUAL else f" ({passport.weights})"
    seed = f", seed {passport.seed}" if passport.seed else ""
    seed = f", mean of {seeds} seeds" if seeds > 1 else seed
    return f"{passport.checkpoint}{weights}, {passport.sampler}, {scale_of(passport)}{seed}"


def _agreement(run: Run, rows: Sequence[Evaluated], metric: str) -> list[str]:
    """Return how far held-out errors put a run's checkpoints in the order of a metric, if that is known."""
    errors: dict[tuple[float, str], float] = {}
    for event in run.record.history().of_kind(HeldOut):
        errors[event.data.epoch, "ema"] = event.data.mse
        if event.data.long is not None:
            errors[event.data.epoch, "ema_long"] = event.data.long
    found = agreement(rows, errors, metric)
    if found.correlation is None:
        return []
    name = f"{run.folder.name}: "
    return [
        f"{name}rank correlation of held-out MSE and {metric} over {found.checkpoints} checkpoints: "
        f"{found.correlation:.2f}"
    ]


def _over_seeds(found: Sequence[Measured], metric: str) -> list[str]:
    """Return the verdicts on sets of runs, each of which differ in nothing but the training seed."""
    sets: dict[tuple, dict[str, dict[int, tuple[str, float]]]] = {}
    for measured in found:
        p, figure = measured.row.passport, figure_of(measured.row, metric)
        value = None if figure is None else loss(figure)
        if value is not None:
            how = f"epoch {p.epoch:g}, {p.weights}, {p.sampler}, {scale_of(p)}"
            run = measured.asked.sweep.run
            key = how, p.seed, p.clip, p.precision, comparable(measured.row, metric)
            alike = sets.setdefault(key, {}).setdefault(_but_for_seed(run), {})
            alike.setdefault(run.experiment.seed, (run.folder.name, value))
    lines = []
    for (how, *_), of_configuration in sets.items():
        members = [list(of_seed.values()) for of_seed in of_configuration.values()]
        for first, second in combinations(members, 2):
            compared = verdict.pooled(*([value for _, value in runs] for runs in (first, second)))
            if compared is not None:
                names = [f"{runs[0][0]} and {len(runs) - 1} more" for runs in (first, second)]
                by = f"by {abs(compared.difference):.3g} ± {compared.error or 0.0:.3g}"
                lines.append(
                    f"{metric} over training seeds ({how}): {names[0]}, against {names[1]}: "
                    f"{compared.verdict}, {by}"
                )
    return lines


def _but_for_seed(run: Run) -> str:
    """Return the configuration of a run without its seed and its name."""
    fields = {name: value for name, value in run.saved_fields().items() if name not in ("seed", "name")}
    return json.dumps(fields, sort_keys=True, default=str)
