"""The tables of training: a run's row in the overview, and everything about the training of one run."""

from __future__ import annotations

from triptych.record.events import HeldOut, Progress, Resumed, Times
from triptych.record.history import lowest_error
from triptych.report import numbers
from triptych.report.document import Table
from triptych.report.language import Language
from triptych.report.run import Run, distinct
from triptych.report.training import (
    UNKNOWN,
    devices,
    epochs,
    sampler_name,
    schedule,
    time_about,
    total_time,
    usual,
    weights_name,
)


def _every(every: object, words: Language) -> str:
    return words("every_epoch") if every == 1 else words("every_epochs", epochs=every)


def _cadence(run: Run, words: Language) -> str:
    saved, every = run.training("checkpoint_every"), run.training("preview_every", usual(run, 0))
    if saved is None:
        return _previews(run, words) or UNKNOWN
    saved = _every(saved, words)
    if every == UNKNOWN:
        return words("checkpoints_alone", saved=saved)
    if not every:
        return words("cadence_value_bare", saved=saved)
    return words("cadence_value", saved=saved, every=_every(every, words), **_preview_settings(run))


def _previews(run: Run, words: Language) -> str | None:
    every = run.training("preview_every", usual(run, 0))
    if every == UNKNOWN:
        return None
    if not every:
        return words("no_previews")
    return words("previews_every", every=_every(every, words), **_preview_settings(run))


def _preview_settings(run: Run) -> dict[str, object]:
    # A start at epoch 0 means from the first multiple on: nothing is drawn before training.
    start = run.training("preview_from", 0) or run.training("preview_every", 0)
    return {"start": start, "count": run.training("preview_count", "?")}


def _time_split(run: Run, words: Language) -> str | None:
    """Return what the time was spent on; None where no attempt lived to tell."""
    timed: list[Times] = [attempt.times for attempt in run.attempts if attempt.times is not None]
    if not timed or run.written_in:
        return None
    spent = {
        name: numbers.duration(sum(getattr(times, name) for times in timed))
        for name in ("training", "previews", "held_out", "checkpoints")
    }
    return words("time_split_value", **spent)


def overview(runs: list[tuple[str, Run]], conditional: bool, words: Language) -> Table:
    """Return the numbered table of all runs of one kind, each given with its display name."""
    columns = [
        "number",
        "model",
        "parameters",
        "gflop",
        "training_cfg",
        "epochs",
        "hardware",
        "batch_lr",
        "schedule",
        "cadence",
        "total_time",
    ]
    rows = []
    for number, (name, run) in enumerate(runs, start=1):
        row = {"number": str(number), "model": name, "hardware": devices(run, words)} | size(run)
        rows.append(
            dict.fromkeys(columns, "–") | row | ({} if run.history.imported else _trained(run, words))
        )
    if not conditional:
        columns.remove("training_cfg")
    if not any(run.origin.flops for _, run in runs):  # as in records of older versions
        columns.remove("gflop")
    return Table(
        tuple(words(column) for column in columns),
        tuple(tuple(row[column] for column in columns) for row in rows),
    )


def size(run: Run) -> dict[str, str]:
    """Return what the network of a run costs, by the key of its column; what is not known is left out."""
    counted = run.origin.parameters
    known = {"parameters": numbers.millions(counted) if counted else UNKNOWN}
    return known | ({"gflop": numbers.giga(run.origin.flops)} if run.origin.flops else {})


def _size_rows(run: Run, words: Language) -> list[tuple[str, str | None]]:
    known = size(run)
    flops = words("gflop_value", gflop=known["gflop"]) if "gflop" in known else None
    counted = known["parameters"] if run.origin.parameters else None
    return [(words("parameters"), counted), (words("gflop"), flops)]


def _trained(run: Run, words: Language) -> dict[str, str]:
    return {
        "training_cfg": _scale(run) or UNKNOWN,
        "epochs": epochs(run, words),
        "batch_lr": f"{run.training('batch_size', '?')} / {_rate(run)}",
        "schedule": schedule(run, words),
        "cadence": _cadence(run, words),
        "total_time": total_time(run, words),
    }


def _rate(run: Run) -> str:
    rate = run.training("learning_rate", usual(run, 0.0))
    return UNKNOWN if rate == UNKNOWN else numbers.scientific(float(rate))


def _scale(run: Run) -> str | None:
    """Return the guidance scale of the previews; None where nobody wrote it down."""
    scale = run.training("preview_guidance", usual(run, 1.0))
    return None if scale == UNKNOWN else numbers.plain(float(scale))


def import_table(run: Run, words: Language) -> Table:
    """Return what is known of a model that was trained elsewhere, item by item."""
    origin = run.history.imported
    assert origin is not None, "the run was trained here"
    files = words(
        "imported_files", layout=origin.layout, file=origin.source, digest=origin.digest[: numbers.DIGEST]
    )
    like = "images_guessed" if origin.data_guessed else "images_like"
    rows: list[tuple[str, str | None]] = [
        (words("run"), origin.name),
        *_size_rows(run, words),
        (words("imported_from"), files),
        (words("image_kind"), words(like, data=run.data, size=origin.data.image_size)),
        (words("diffusion"), _diffusion(run)),
    ]
    told = tuple((item, value) for item, value in rows if value is not None)
    return Table((words("item"), words("value")), told)


def training_table(run: Run, words: Language) -> Table:
    """Return everything about the training of one run, item by item."""
    data = run.origin.data
    summary = words(
        "training_set_value", data=run.data, size=data.image_size, count=numbers.count(data.train_images)
    )
    if data.digest:
        summary = words("training_set_digest", summary=summary, digest=data.digest[: numbers.DIGEST])
    scale = _scale(run)
    rows: list[tuple[str, str | None]] = [
        (words("run"), run.origin.name),
        *_size_rows(run, words),
        (words("training_set"), summary),
        (words("preparation"), data.preparation or None),
        (words("training_epochs"), epochs(run, words)),
        (
            words("training_cfg"),
            words("training_cfg_value", scale=scale) if run.origin.conditional and scale else None,
        ),
        (words("hardware"), devices(run, words)),
        (words("processes"), _processes(run, words)),
        (words("batch_workers"), _batch_and_workers(run)),
        (words("precision"), _precision(run) or None),
        _known(words("learning_rate"), _rate(run)),
        _known(words("schedule"), schedule(run, words)),
        (words("diffusion"), _diffusion(run)),
        (words("left_out"), _left_out(run, words)),
        (words("lowest_error"), _lowest_error(run, words)),
        (words("checkpoint_cadence"), _saved(run, words)),
        (words("preview_cadence"), _previews(run, words)),
        (words("epoch_time"), time_about(*run.seconds_per_epoch, words) if run.seconds_per_epoch else None),
        _preview_time(run, words),
        (words("total_time"), total_time(run, words)),
        (words("time_split"), _time_split(run, words)),
        (words("device_hours"), _device_hours(run, words)),
        (words("energy"), _energy(run, words)),
    ]
    told = tuple((item, value) for item, value in rows if value is not None)
    return Table((words("item"), words("value")), told)


def _known(item: str, value: str) -> tuple[str, str | None]:
    return item, None if value == UNKNOWN else value


def _batch_and_workers(run: Run) -> str:
    return f"{run.training('batch_size', '?')} / {run.training('workers', usual(run, 0))}"


def _saved(run: Run, words: Language) -> str | None:
    every = run.training("checkpoint_every")
    return None if every is None else _every(every, words)


def _device_hours(run: Run, words: Language) -> str:
    """Return the hours of all devices that trained, added up."""
    hours = sum(attempt.seconds * attempt.device.used for attempt in run.attempts) / 3600
    about = any(attempt.approximate for attempt in run.attempts)
    text = numbers.figure(hours, 1)
    return words("about", time=text) if about else text


def _energy(run: Run, words: Language) -> str | None:
    """Return the energy of all attempts; None where any of them did not tell."""
    joules = [attempt.times.energy if attempt.times else None for attempt in run.attempts]
    known = [one for one in joules if one is not None]
    if len(known) < len(joules):
        return None
    return words("energy_value", energy=numbers.figure(sum(known) / 3.6e6, 2))


def _diffusion(run: Run) -> str | None:
    """Return schedule and prediction, and by their fields' names what else is trained unlike DDPM."""
    parts = [run.setting("diffusion", name) for name in ("schedule", "prediction")]
    if not all(parts):
        return None
    other = {name: run.setting("diffusion", name) for name in ("objective", "times")}
    told = [f"{name} {value}" for name, value in other.items() if value not in (None, "mse", "uniform")]
    return ", ".join([" / ".join(str(part) for part in parts), *told])


def _precision(run: Run) -> str:
    """Return what the network computed in, with what later attempts computed in otherwise."""
    resumes = [event.data.precision for event in run.history.events if isinstance(event.data, Resumed)]
    return " → ".join(distinct([run.history.started.precision, *resumes]))


def _processes(run: Run, words: Language) -> str | None:
    """Return how many processes trained, in the order of attempts; None where there never was but one."""
    ranks = distinct(str(attempt.ranks) for attempt in run.attempts)
    return None if ranks == ["1"] else words("then").join(ranks)


def _left_out(run: Run, words: Language) -> str | None:
    """Return how many of the steps that hold were left out because they were unsound; None: none were."""
    progress = [event.data for event in run.history.of_kind(Progress)]
    counts = {name: sum(getattr(part, name) for part in progress) for name in ("not_finite", "spikes")}
    shown = {name: numbers.count(count) for name, count in counts.items()}
    return words("left_out_value", **shown) if any(counts.values()) else None


def _lowest_error(run: Run, words: Language) -> str | None:
    """Return the lowest held-out error, and which average had it; None where there is only one average."""
    best = run.history.best_held_out
    if best is None or all(event.data.long is None for event in run.history.of_kind(HeldOut)):
        return None
    error, weights = lowest_error(best.data)
    return words(
        "lowest_error_value",
        mse=numbers.figure(error, 5),
        checkpoint=words("epoch_n", epoch=numbers.plain(best.data.epoch)),
        weights=weights_name(weights, words),
    )


def _preview_time(run: Run, words: Language) -> tuple[str, str | None]:
    sampler = sampler_name(str(run.training("preview_sampler", "")), words)
    key = "preview_time" if sampler else "preview_time_bare"
    item = words(key, count=run.training("preview_count", "?"), sampler=sampler)
    seconds = run.seconds_per_preview
    return item, None if seconds is None else numbers.duration(seconds)
