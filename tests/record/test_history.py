"""What the events add up to: voiding by resumes, best figures, and time over attempts."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.errors import UserError
from triptych.record.events import (
    DataSummary,
    Device,
    Event,
    Finished,
    HeldOut,
    Imported,
    Progress,
    Resumed,
    Sampled,
    Saved,
    Started,
    Stopped,
    Times,
)
from triptych.record.history import History, lowest_error, valid_events
from triptych.record.record import KIND_OF

V100 = Device("V100", 5, 8)
DATA = DataSummary("digits", "d" * 64, 1, 8, 1437, 360, tuple("0123456789"))
STARTED = Started(
    name="run",
    config={"training": {"epochs": 10, "checkpoint_every": 2}, "device": "cuda"},
    data=DATA,
    parameters=1000,
    conditional=True,
    device=V100,
    versions={},
    steps_per_epoch=10.0,
    total_steps=100,
)


def resumed(**changes) -> Resumed:
    total = changes.pop("total_steps", 100)
    return Resumed("epoch-00005", (), changes, V100, {}, total)


def progress(loss=0.5):
    return Progress(epoch=1.0, loss=loss, gradient_norm=1.0, learning_rate=1e-4, images_per_second=100.0)


def sampled():
    return Sampled(5.0, "epoch-00005", "ema", "ddim:50", 3.0, True, 0, 80, 8, "s.png", None, 50, 1.0, V100)


def history(*rows) -> History:
    """Each row: payload, step, attempt, seconds."""
    events = (Event(KIND_OF[type(data)], step, attempt, float(at), data) for data, step, attempt, at in rows)
    return History(tuple(events), Path("runs/run/record.jsonl"))


def test_a_resume_voids_later_steps_of_earlier_attempts_only():
    past = history(
        (STARTED, 0, 0, 0),
        (progress(), 50, 0, 1),
        (sampled(), 50, 0, 2),
        (progress(), 51, 0, 3),
        (sampled(), 60, 0, 4),
        (resumed(), 50, 1, 5),
        (progress(), 51, 1, 6),
        (sampled(), 60, 1, 7),
    )
    assert [event.seconds for event in past.valid] == [0, 1, 2, 5, 6, 7]


def test_a_resume_further_back_voids_every_earlier_attempt():
    past = history(
        (STARTED, 0, 0, 0),
        (progress(), 30, 0, 1),
        (resumed(), 50, 1, 2),
        (progress(), 60, 1, 3),
        (resumed(), 20, 2, 4),
        (progress(), 25, 2, 5),
    )
    assert [event.step for event in past.valid] == [0, 20, 25]


rows = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 3)), max_size=12)


@given(rows)
def test_voiding_agrees_with_the_rule_read_literally(drawn):
    events = [
        Event(
            "resumed" if is_resume else "progress", step, attempt, i, resumed() if is_resume else progress()
        )
        for i, (is_resume, step, attempt) in enumerate(drawn)
    ]
    kept = []
    for event in events:
        later = [e for e in events if e.kind == "resumed" and e.attempt > event.attempt]
        if all(event.step <= e.step for e in later):
            kept.append(event)
    assert valid_events(events) == tuple(kept)


def test_best_held_out_ignores_voided_and_non_finite_figures():
    past = history(
        (STARTED, 0, 0, 0),
        (HeldOut(2.0, 0.30, True, 1.0), 20, 0, 1),
        (HeldOut(8.0, 0.10, True, 1.0), 80, 0, 2),
        (resumed(), 50, 1, 3),
        (HeldOut(6.0, float("nan"), False, 1.0), 60, 1, 4),
        (HeldOut(7.0, 0.20, True, 1.0), 70, 1, 5),
        (HeldOut(8.0, 0.20, False, 1.0), 80, 1, 6),
    )
    assert past.best_held_out.step == 70


def test_best_held_out_is_of_either_average():
    errors = [
        (0.30, None),
        (0.20, 0.25),
        (0.19, 0.10),
        (0.10, 0.10),
        (float("nan"), 0.09),
        (0.3, float("nan")),
    ]
    measured = [
        (HeldOut(float(i), mse, True, 1.0, long=long), 10 * i, 0, i) for i, (mse, long) in enumerate(errors)
    ]
    assert history((STARTED, 0, 0, 0), *measured).best_held_out.step == 40
    assert history((STARTED, 0, 0, 0), *measured[:4]).best_held_out.step == 20  # the earliest of equals
    lowest = [lowest_error(held_out) for held_out, *_ in measured]
    assert lowest == [
        (0.30, "ema"),
        (0.20, "ema"),
        (0.10, "ema_long"),
        (0.10, "ema"),
        (0.09, "ema_long"),
        (0.3, "ema"),
    ]
    error, weights = lowest_error(HeldOut(1.0, float("nan"), False, 1.0))
    assert error != error
    assert weights == "ema"


def test_attempts_know_their_processes_and_what_they_went_back_for():
    back = Resumed("epoch-00005", (), {}, V100, {}, 100, fault="not finite", fault_step=80, ranks=3)
    past = history(
        (replace(STARTED, ranks=3), 0, 0, 0),
        (Stopped(8.0, "diverged", times(8.0)), 80, 0, 8),
        (back, 50, 1, 9),
        (resumed(), 50, 2, 20),
    )
    told = [(attempt.ranks, attempt.fault, attempt.fault_step) for attempt in past.attempts]
    assert told == [(3, "", None), (3, "not finite", 80), (1, "", None)]


def test_last_progress_and_attempt():
    past = history(
        (STARTED, 0, 0, 0), (progress(0.5), 90, 0, 1), (resumed(), 50, 1, 2), (progress(0.4), 60, 1, 3)
    )
    assert past.last_progress.data.loss == 0.4
    assert past.attempt == 1
    assert past.last_step == 60
    assert history().attempt == -1
    assert history().last_progress is None


def test_changes_of_resumes_are_applied_to_the_configuration():
    past = history(
        (STARTED, 0, 0, 0),
        (resumed(**{"training.epochs": (10, 40), "total_steps": 400}), 100, 1, 1),
        (
            resumed(**{"device": ("cuda", "cpu"), "training.checkpoint-every": (2, 5), "total_steps": 400}),
            90,
            2,
            2,
        ),
    )
    assert past.config == {"training": {"epochs": 40, "checkpoint_every": 5}, "device": "cpu"}
    assert past.total_steps == 400
    assert past.started.config["training"]["epochs"] == 10


def times(total):
    return Times(training=total - 4, held_out=1.0, previews=2.0, checkpoints=1.0, total=total)


def test_attempts_with_their_times_ends_and_kept_steps():
    past = history(
        (STARTED, 0, 0, 1000),
        (progress(), 30, 0, 1100),
        (progress(), 55, 0, 1290),
        (sampled(), 50, 0, 9999),
        (resumed(), 50, 1, 20000),
        (Stopped(8.0, "SIGTERM", times(300.0)), 80, 1, 20310),
        (resumed(), 80, 2, 30000),
        (Finished(10.0, times(200.0)), 100, 2, 30205),
        (resumed(), 100, 3, 40000),
    )
    killed, stopped, finished, running = past.attempts
    assert (killed.seconds, killed.approximate, killed.end) == (290.0, True, "open")
    assert (killed.first_step, killed.last_step, killed.kept_step) == (0, 55, 50)
    assert (stopped.seconds, stopped.approximate, stopped.end, stopped.reason) == (
        300.0,
        False,
        "stopped",
        "SIGTERM",
    )
    assert (finished.first_step, finished.kept_step, finished.end) == (80, 100, "finished")
    assert (running.seconds, running.approximate) == (0.0, True)
    assert not past.finished
    assert History(past.events[:-1], past.path).finished


def test_time_spent_on_voided_steps_stays_counted():
    past = history(
        (STARTED, 0, 0, 0), (Stopped(9.0, "SIGTERM", times(70.0)), 90, 0, 70), (resumed(), 20, 1, 99)
    )
    assert [event.kind for event in past.valid] == ["started", "resumed"]
    assert past.attempts[0].seconds == 70.0
    assert past.attempts[0].kept_step == 20


def test_an_empty_record_has_no_start():
    with pytest.raises(UserError, match="it holds no start of a run"):
        history().started  # noqa: B018


def test_an_import_is_an_origin_and_no_start():
    imported = Imported("run", {"device": "cpu"}, DATA, 1000, True, {}, "diffusers", "theirs/a.bin", "d" * 64)
    past = history((imported, 0, 0, 0), (sampled(), 0, 0, 1))
    assert past.origin is past.imported is imported
    assert past.config == {"device": "cpu"}
    assert (past.attempts, past.finished, past.last_step) == ((), False, 0)
    with pytest.raises(UserError, match=r"trained elsewhere, and imported \(theirs/a.bin\)"):
        past.started  # noqa: B018
    assert history((STARTED, 0, 0, 0)).imported is None


def test_an_attempt_without_beginning_is_refused():
    with pytest.raises(UserError, match="it begins with 'progress'"):
        history((progress(), 1, 0, 0)).attempts  # noqa: B018


def test_a_saved_checkpoint_is_found_by_kind():
    past = history((STARTED, 0, 0, 0), (Saved(5.0, "epoch-00005", 10, 1.0, ()), 50, 0, 1))
    assert [event.data.checkpoint for event in past.of_kind(Saved)] == ["epoch-00005"]
