"""What a report calls training: hardware, samplers, epochs, the course of the learning rate, and times."""

from __future__ import annotations

from triptych.record.events import Device
from triptych.record.history import Attempt
from triptych.report import names, numbers
from triptych.report.language import Language
from triptych.report.run import Run, distinct

UNKNOWN = "–"
"""What stands for what nobody wrote down."""
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
    """Return what readers call weights; an unknown kind, and what they were rounded to, by its own name."""
    known = {"ema": "usual_average", "ema_long": "slower_average", "raw": "raw_weights"}
    kind, *rounded = weights.split(", ")
    return ", ".join([words(known[kind]) if kind in known else kind, *rounded])


def epochs(run: Run, words: Language) -> str:
    """Return the epochs of a run, and how many of them are done where it is unfinished."""
    planned = numbers.plain(run.planned_epochs)
    if run.history.finished:
        return planned
    return words("epochs_of", done=numbers.plain(run.epochs_done), planned=planned)


def schedule(run: Run, words: Language) -> str:
    """Return the course of the learning rate: `20-epoch linear warm-up → cosine`."""
    name = str(run.training("learning_rate_schedule", usual(run, "constant")))
    course = words({"wsd": "constant"}.get(name, name)) if name in ("cosine", "wsd", "constant") else name
    warmup = float(run.training("warmup_epochs", 0.0))
    if name == "wsd":
        decay = float(run.training("decay", 0.25))
        constant = warmup < (1 - decay) * run.planned_epochs
        key = "wsd_last" if constant else "wsd_alone"
        course = words(key, schedule=course, share=numbers.plain(100 * decay))
    return words("warmup_then", epochs=numbers.plain(warmup), schedule=course) if warmup > 0 else course


def usual(run: Run, value: object) -> object:
    """Return what a run of this program has where its configuration says nothing; of others nobody knows."""
    return UNKNOWN if run.written_in else value


def time_about(seconds: float, approximate: bool, words: Language) -> str:
    """Return a duration, said to be about that long where it is not known exactly: whole minutes then."""
    if not approximate:
        return numbers.duration(seconds)
    text = numbers.duration(round(seconds / 60) * 60.0 if seconds >= 3600 else seconds)
    return words("about", time=text.removesuffix(" 0.0s").removesuffix(" 0m"))


def _part(run: Run, attempt: Attempt, words: Language) -> str:
    """Return the time of one attempt with the epochs that it contributed."""
    time = time_about(attempt.seconds, attempt.approximate, words)
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
    return time_about(sum(attempt.seconds for attempt in run.attempts), approximate, words)


def total_time(run: Run, words: Language) -> str:
    """Return the time of training, resumed parts told apart and added up."""
    total = whole_time(run, words)
    if len(run.attempts) == 1:
        return total
    if len(run.attempts) > MOST_PARTS:
        return words("many_parts", total=total, count=len(run.attempts))
    parts = " + ".join(_part(run, attempt, words) for attempt in run.attempts)
    return words("sum_of_parts", parts=parts, total=total)
