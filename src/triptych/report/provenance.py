"""What a log kept by hand lacks: versions, stops and resumes, and what to type next."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from triptych.record.events import Exported, Resumed, Sampled, Started
from triptych.record.history import Attempt
from triptych.report import numbers
from triptych.report.document import Block, Command, Items, Paragraph, Table
from triptych.report.language import Language
from triptych.report.rows import headline, ranked, rows_of
from triptych.report.run import Run, distinct
from triptych.report.training import device, weights_name


def provenance(run: Run, words: Language, *, live: bool = False) -> list[Block]:
    """Return environment, attempts where there was more than one, and the next command unless `live`."""
    if isinstance(run.origin, Started) and run.origin.written_in:
        digest = run.origin.written_digest[: numbers.DIGEST]
        return [Items((words("written_in", file=run.origin.written_in, digest=digest),))]
    told = [words("environment", versions=_environment(run, words))]
    if copy := run.history.exported:
        weights = weights_name(copy.weights, words)
        said = {"run": copy.run, "checkpoint": copy.checkpoint, "weights": weights, "dtype": copy.dtype}
        told.append(words("copy_of", **said))
    blocks: list[Block] = [Items(tuple(told))]
    if len(run.attempts) > 1 or any(attempt.end != "finished" for attempt in run.attempts):
        blocks.append(_attempts(run, words))
    if live:
        return blocks
    # Where the report stands beside the runs, nobody is elsewhere.
    where = "next_from_here" if run.folder.startswith("..") or "/" not in run.folder else "next"
    return [*blocks, Paragraph(words(where)), Command(next_command(run))]


def _environment(run: Run, words: Language) -> str:
    """Return the versions of the start, and what later attempts had otherwise."""
    first = run.origin.versions
    stories = {key: [numbers.version(key, value)] for key, value in first.items()}
    for event in run.history.events:
        if isinstance(event.data, Resumed):
            for key, value in event.data.versions.items():
                stories.setdefault(key, []).append(numbers.version(key, value))
    return words("comma").join(f"{key} {' → '.join(distinct(values))}" for key, values in stories.items())


def _attempts(run: Run, words: Language) -> Table:
    told = {
        "hardware": len({attempt.device for attempt in run.attempts}) > 1,
        "processes": len({attempt.ranks for attempt in run.attempts}) > 1,
    }
    columns = ["attempt", "went_on_from", "kept_epochs", "ending", "total_time", *told, "remarks"]
    rows = []
    for attempt in run.attempts:
        start, end = run.epoch(attempt.first_step), run.epoch(attempt.kept_step)
        time = numbers.duration(attempt.seconds)
        row = {
            "attempt": str(attempt.number + 1),
            "went_on_from": attempt.checkpoint or words("the_start"),
            "kept_epochs": words("from_to", start=numbers.plain(start), end=numbers.plain(end)),
            "ending": _ending(run, attempt, words),
            "total_time": words("about", time=time) if attempt.approximate else time,
            "hardware": device(attempt.device, words),
            "processes": str(attempt.ranks),
            "remarks": "; ".join(_remarks(run, attempt, words)) or "–",
        }
        rows.append(row)
    shown = [column for column in columns if told.get(column, True)]
    if all(row["remarks"] == "–" for row in rows):
        shown.remove("remarks")
    titles = tuple(words("time" if column == "total_time" else column) for column in shown)
    return Table(titles, tuple(tuple(row[column] for column in shown) for row in rows))


def _ending(run: Run, attempt: Attempt, words: Language) -> str:
    if attempt.end == "open":
        last = "open_copied" if run.history.exported else "open"
        text = words(last if attempt is run.attempts[-1] else "killed")
    elif attempt.end == "stopped" and attempt.reason == "diverged":
        text = words("diverged")
    elif attempt.end == "stopped":
        text = words("stopped", reason=attempt.reason)
    else:
        text = words("finished")
    lost = attempt.last_step - attempt.kept_step
    return words("lost", ending=text, epochs=numbers.plain(run.epoch(lost))) if lost > 0 else text


def _remarks(run: Run, attempt: Attempt, words: Language) -> list[str]:
    """Return what set an attempt off, what it changed, and what it passed over."""
    remarks = []
    if attempt.fault:
        step = attempt.first_step if attempt.fault_step is None else attempt.fault_step
        remarks.append(words("went_back", epoch=numbers.plain(run.epoch(step)), fault=attempt.fault))
    changed = [words("changed", name=name, old=old, new=new) for name, (old, new) in attempt.changes.items()]
    return [*remarks, *changed, *(words("skipped", checkpoint=checkpoint) for checkpoint in attempt.skipped)]


def next_command(run: Run) -> str:
    """Return what takes the run on: train to the end, sample, evaluate, or draw from the best row."""
    folder = shlex.quote(run.folder)
    conditional = run.origin.conditional
    model_alone = run.history.imported or run.history.exported
    if not (run.history.finished or model_alone):
        place = PurePosixPath(run.folder)
        name = f" --name {shlex.quote(place.name)}" if place.name != run.origin.name else ""
        runs = f" --runs {shlex.quote(str(place.parent))}" if str(place.parent) != "runs" else ""
        return f"triptych train {shlex.quote(str(place / 'config.yaml'))}{name}{runs}"
    rows = rows_of(run, run.backbone)
    copy = run.history.exported
    if copy:  # others it cannot draw
        rows = [row for row in rows if (row.passport.checkpoint, row.passport.weights) == copy_of(copy)]
    drawn = run.history.of_kind(Sampled)
    if not drawn:
        scale = f" --guidance {_scale(run)} --per-class 8" if conditional else " --count 64"
        return f"triptych sample {folder}{scale} --gif"
    if len(rows) < 2:
        scales = " --guidance 1 1.5 2 3" if conditional else ""
        checkpoints = "" if model_alone else " --checkpoint last best-mse"
        return f"triptych evaluate {folder}{checkpoints}{scales}"
    metric = headline(rows)
    best = ranked(rows, metric)[0][1].passport if metric else rows[-1].passport
    guided = conditional or best.guidance > 0
    scale = f" --guidance {best.guidance:g}" if guided else ""
    scale += "" if best.guide == "cfg" else f" --guide {shlex.quote(best.guide)}"
    sampler = shlex.quote(best.sampler)
    weights = "none" if best.weights == "raw" else best.weights
    average = "" if weights == "ema" else f" --ema {shlex.quote(weights)}"
    model = ("", "") if copy else (f" --checkpoint {best.checkpoint}", average)
    return f"triptych sample {folder}{model[0]} --sampler {sampler}{scale}{model[1]} --count 1024"


def copy_of(copy: Exported) -> tuple[str, str]:
    """Return the checkpoint and the weights that a small copy of a run has."""
    return copy.checkpoint, copy.weights


def _scale(run: Run) -> str:
    return numbers.plain(
        float(run.setting("sampling", "guidance", default=run.training("preview_guidance", 1.0)))
    )
