"""The training side of a report: a run's row in the overview, and its own table of training."""

from __future__ import annotations

from triptych.record.events import Device, HeldOut, Progress, Resumed, Times
from triptych.record.history import Attempt, lowest_error
from triptych.report import names, numbers
from triptych.report.document import Table
from triptych.report.language import Language
from triptych.report.run import Run, distinct

MOST_PARTS = 4
"""Resumed parts that a total time is spelled out in; beyond that the table of attempts has to do."""


def device(hardware: Device, words: Language, key: str = "devices_used") -> str:
    """Return hardware as `V100 32G × 8 (3 used)`, or by its name alone where there is one of it."""
    if hardware.present <= 1:
        return hardware.name
    return words(key, name=hardware.name, present=hardware.present, used=hardware.used)


def devices(run: Run, words: Language, key: str = "devices_used") -> str:
    """Return all hardware that a run was trained on, in the order of use."""
    if run.history.imported:
        return words("elsewhere")
    return words("then").join(distinct(device(attempt.device, words, key) for attempt in run.attempts))


def sampler_name(sampler: str, words: Language) -> str:
    """Return `ddim:50` as `DDIM 50 steps`."""
    method, steps = names.sampler_parts(sampler)
    if not steps:
        return method
    return words("method_one_step" if steps == "1" else "method_steps", method=method, steps=steps)


def weights_name(weights: str, words: Language) -> str:
    """Return what readers call weights; an unknown kind is called by its own name."""
    known = {"ema": "usual_average", "ema_long": "slower_average", "raw": "raw_weights"}
    return words(known[weights]) if weights in known else weights


def epochs(run: Run, words: Language) -> str:
    """Return the epochs of a run, and how many of them are done where it is unfinished."""
    planned = numbers.plain(run.planned_epochs)
    if run.history.finished:
        return planned
    return words("epochs_of", done=numbers.plain(run.epochs_done), planned=planned)


def schedule(run: Run, words: Language) -> str:
    """Return the course of the learning rate: `20-epoch linear warm-up → cosine`."""
    name = str(run.training("learning_rate_schedule", "constant"))
    course = words({"wsd": "constant"}.get(name, name)) if name in ("cosine", "wsd", "constant") else name
    warmup = float(run.training("warmup_epochs", 0.0))
    if name == "wsd":
        decay = float(run.training("decay", 0.25))
        constant = warmup < (1 - decay) * run.planned_epochs
        key = "wsd_last" if constant else "wsd_alone"
        course = words(key, schedule=course, share=numbers.plain(100 * decay))
    return words("warmup_then", epochs=numbers.plain(warmup), schedule=course) if warmup > 0 else course


def _every(every: object, words: Language) -> str:
    return words("every_epoch") if every == 1 else words("every_epochs", epochs=every)


def _cadence(run: Run, words: Language) -> str:
    saved = _every(run.training("checkpoint_every", "?"), words)
    every = run.training("preview_every", 0)
    if not every:
        return words("cadence_value_bare", saved=saved)
    return words("cadence_value", saved=saved, every=_every(every, words), **_preview_settings(run))


def _previews(run: Run, words: Language) -> str:
    every = run.training("preview_every", 0)
    if not every:
        return words("no_previews")
    return words("previews_every", every=_every(every, words), **_preview_settings(run))


def _preview_settings(run: Run) -> dict[str, object]:
    # A start at epoch 0 means from the first multiple on: nothing is drawn before training.
    start = run.training("preview_from", 0) or run.training("preview_every", 0)
    return {"start": start, "count": run.training("preview_count", "?")}


def _time(seconds: float, approximate: bool, words: Language) -> str:
    text = numbers.duration(seconds)
    return words("about", time=text) if approximate else text


def _part(run: Run, attempt: Attempt, words: Language) -> str:
    """Return the time of one attempt with the epochs that it contributed."""
    time = _time(attempt.seconds, attempt.approximate, words)
    start, end = run.epoch(attempt.first_step), run.epoch(attempt.kept_step)
    if attempt.kept_step == attempt.first_step:
        return words("lost_part", time=time)
    if attempt is run.attempts[-1]:
        return words("last_part", time=time, epochs=numbers.plain(end - start))
    if attempt.first_step == 0:
        return words("first_part", time=time, epochs=numbers.plain(end))
    return words("middle_part", time=time, start=numbers.plain(start), end=numbers.plain(end))


def whole_time(run: Run, words: Language) -> str:
    """Return the time of training with all that belongs to it."""
    approximate = any(attempt.approximate for attempt in run.attempts)
    return _time(sum(attempt.seconds for attempt in run.attempts), approximate, words)


def total_time(run: Run, words: Language) -> str:
    """Return the time of training, resumed parts told apart and added up."""
    total = whole_time(run, words)
    if len(run.attempts) == 1:
        return total
    if len(run.attempts) > MOST_PARTS:
        return words("many_parts", total=total, count=len(run.attempts))
    parts = " + ".join(_part(run, attempt, words) for attempt in run.attempts)
    return words("sum_of_parts", parts=parts, total=total)


def _time_split(run: Run, words: Language) -> str | None:
    """Return what the time was spent on; None where no attempt lived to tell."""
    timed: list[Times] = [attempt.times for attempt in run.attempts if attempt.times is not None]
    if not timed:
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
    known = {"parameters": numbers.millions(run.origin.parameters)}
    return known | ({"gflop": numbers.giga(run.origin.flops)} if run.origin.flops else {})


def _size_rows(run: Run, words: Language) -> list[tuple[str, str | None]]:
    known = size(run)
    flops = words("gflop_value", gflop=known["gflop"]) if "gflop" in known else None
    return [(words("parameters"), known["parameters"]), (words("gflop"), flops)]


def _trained(run: Run, words: Language) -> dict[str, str]:
    rate = numbers.scientific(float(run.training("learning_rate", 0.0)))
    return {
        "training_cfg": numbers.plain(float(run.training("preview_guidance", 1.0))),
        "epochs": epochs(run, words),
        "batch_lr": f"{run.training('batch_size', '?')} / {rate}",
        "schedule": schedule(run, words),
        "cadence": _cadence(run, words),
        "total_time": total_time(run, words),
    }


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
    scale = numbers.plain(float(run.training("preview_guidance", 1.0)))
    rows: list[tuple[str, str | None]] = [
        (words("run"), run.origin.name),
        *_size_rows(run, words),
        (words("training_set"), summary),
        (words("preparation"), data.preparation or None),
        (words("training_epochs"), epochs(run, words)),
        (
            words("training_cfg"),
            words("training_cfg_value", scale=scale) if run.origin.conditional else None,
        ),
        (words("hardware"), devices(run, words)),
        (words("processes"), _processes(run, words)),
        (words("batch_workers"), f"{run.training('batch_size', '?')} / {run.training('workers', 0)}"),
        (words("precision"), _precision(run)),
        (words("learning_rate"), numbers.scientific(float(run.training("learning_rate", 0.0)))),
        (words("schedule"), schedule(run, words)),
        (words("diffusion"), _diffusion(run)),
        (words("left_out"), _left_out(run, words)),
        (words("lowest_error"), _lowest_error(run, words)),
        (words("checkpoint_cadence"), _every(run.training("checkpoint_every", "?"), words)),
        (words("preview_cadence"), _previews(run, words)),
        (words("epoch_time"), _time(*run.seconds_per_epoch, words) if run.seconds_per_epoch else None),
        _preview_time(run, words),
        (words("total_time"), total_time(run, words)),
        (words("time_split"), _time_split(run, words)),
    ]
    told = tuple((item, value) for item, value in rows if value is not None)
    return Table((words("item"), words("value")), told)


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
    item = words("preview_time", count=run.training("preview_count", "?"), sampler=sampler)
    seconds = run.seconds_per_preview
    return item, None if seconds is None else numbers.duration(seconds)
