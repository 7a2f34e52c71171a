"""The clock: epochs, cadences and learning rates as functions of the step."""

import math

import pytest

from triptych.errors import UserError
from triptych.training.clock import Clock
from triptych.training.config import TrainingConfig


def clock(images=50, **fields):
    return Clock(TrainingConfig(**({"epochs": 10, "batch_size": 8, "checkpoint_every": 3} | fields)), images)


def test_an_epoch_ends_with_its_last_image():
    c = clock()
    assert [c.end_of(e) for e in (1, 2, 3, 4)] == [7, 13, 19, 25]  # 50, 100, 150, 200 images of 8 a step
    assert [step for step in range(1, 26) if c.ends_epoch(step)] == [7, 13, 19, 25]
    assert c.epoch(25) == 4.0
    assert c.epoch(24) == pytest.approx(24 * 8 / 50)
    assert c.total_steps == 63


def test_max_steps_ends_training_early():
    assert clock(max_steps=5).total_steps == 5
    assert clock(max_steps=5).checkpoint_due(5)
    assert clock(max_steps=5000).total_steps == 63


def test_figures_come_after_each_epoch_and_within_long_ones():
    short = clock()
    assert [step for step in range(64) if short.progress_due(step)] == [short.end_of(e) for e in range(1, 11)]
    long = clock(images=50_000, batch_size=64, epochs=4)
    due = [step for step in range(1, long.total_steps + 1) if long.progress_due(step)]
    assert 95 <= len(due) <= 105
    assert {long.end_of(epoch) for epoch in (1, 2, 3, 4)} <= set(due)
    cut = clock(images=50_000, batch_size=64, max_steps=50)
    assert [step for step in range(51) if cut.progress_due(step)] == [20, 40, 50]
    many = clock(images=50_000, batch_size=128, epochs=3000)
    assert sum(many.progress_due(step) for step in range(1, 4000)) == 10


def test_checkpoints_at_every_third_epoch_and_at_the_end():
    c = clock()
    due = [c.epoch(step) for step in range(1, 64) if c.checkpoint_due(step)]
    assert due == [3, 6, 9, 10]
    assert c.checkpoint_name(c.end_of(3)) == "epoch-00003"
    assert c.checkpoint_name(c.end_of(3) + 1) == "epoch-00003-step-00000020"


@pytest.mark.parametrize(
    ("start", "every", "expected"),
    [(4, 2, [4, 6, 8, 10]), (0, 5, [5, 10]), (1, 4, [1, 5, 9]), (20, 1, []), (0, 0, []), (10, 3, [10])],
)
def test_previews_start_and_repeat(start, every, expected):
    c = clock(preview_from=start, preview_every=every)
    assert [c.epoch(step) for step in range(1, 64) if c.preview_due(step)] == expected


def test_epochs_shorter_than_a_step_miss_nothing():
    """3 images, 8 a step: every step ends several epochs, and what falls due in it happens once."""
    c = clock(images=3, epochs=100, checkpoint_every=10)
    due = [c.whole_epochs(step) for step in range(1, c.total_steps + 1) if c.checkpoint_due(step)]
    assert due == [10, 21, 32, 40, 50, 61, 72, 80, 90, 101]


def test_learning_rate_warms_up_and_follows_a_cosine():
    c = clock(images=80, warmup_epochs=2, learning_rate=0.5)
    rates = [c.learning_rate(step) for step in range(c.total_steps)]
    assert rates[:20] == pytest.approx([0.5 * (k + 1) / 20 for k in range(20)])
    assert rates[20] == 0.5
    assert rates[60] == pytest.approx(0.25)  # half-way through the remaining 80 steps
    assert rates[99] == pytest.approx(0.25 * (1 + math.cos(math.pi * 79 / 80)))
    assert c.learning_rate(100) == pytest.approx(0, abs=1e-12)


def test_a_stable_rate_decays_in_a_line_at_the_end():
    c = clock(images=80, warmup_epochs=2, learning_rate=0.5, learning_rate_schedule="wsd", decay=0.25)
    rates = [c.learning_rate(step) for step in range(c.total_steps)]
    assert rates[:20] == pytest.approx([0.5 * (k + 1) / 20 for k in range(20)])
    assert set(rates[20:76]) == {0.5}
    assert rates[75:] == pytest.approx([0.5 * left / 25 for left in range(25, 0, -1)])
    assert c.learning_rate(100) == c.learning_rate(130) == 0.0


def test_constant_rate_and_no_warmup():
    c = clock(learning_rate_schedule="constant", learning_rate=0.5)
    assert {c.learning_rate(step) for step in range(63)} == {0.5}
    assert clock(learning_rate=0.5).learning_rate(0) == 0.5


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"label_drop": 1.0},
        {"ema_warmup": -0.1},
        {"max_steps": 0},
        {"keep_every": 0},
        {"keep_full": 0},
        {"preview_guidance": -1.0},
        {"preview_sampler": "oiler:5"},
        {"clip_norm": -1.0},
    ],
)
def test_values_out_of_range_are_refused(fields):
    with pytest.raises(UserError):
        TrainingConfig(**fields)
