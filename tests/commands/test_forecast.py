"""What is told of the time and cost to the end of a training."""

from types import SimpleNamespace

import pytest
import torch

from triptych.commands.forecast import MEASURED, SKIPPED, Forecast, amount, peak_memory, spoken


def training(total, step=0):
    """Return a stand-in for a training whose clock goes by what `stopwatch.training` is set to."""
    return SimpleNamespace(
        state=SimpleNamespace(step=step),
        device=torch.device("cpu"),
        stopwatch=SimpleNamespace(training=0.0),
        clock=SimpleNamespace(total_steps=total),
    )


def told(watched, price=None):
    """Take the first steps: slow ones at first, then half a second each; return what was told when."""
    forecast = Forecast(watched, price)
    found = {}
    for i in range(1, 40):
        watched.stopwatch.training += 9.0 if i <= SKIPPED else 0.5
        if line := forecast.on_step(watched.state.step + i):
            found[i] = line
    return found


@pytest.mark.parametrize("step", [0, 1000])
def test_it_is_told_once_and_leaves_the_slow_start_out(step):
    left = 7200
    ((when, line),) = told(training(step + SKIPPED + MEASURED + left, step), price=3).items()
    assert when == SKIPPED + MEASURED
    assert line.startswith("0.5 s a step: 1 h 0 min to the end")
    assert line.endswith("; cost 3.00 at 3 an hour")
    assert "peak memory" in line


def test_what_ends_at_once_is_not_worth_a_word():
    assert told(training(100)) == {}


def test_what_it_costs_is_told_to_whoever_gives_a_price():
    (line,) = told(training(SKIPPED + MEASURED + 100), price=7.2).values()
    assert line.startswith("0.5 s a step: 50 s to the end")
    assert line.endswith("; cost 0.10 at 7.2 an hour")


@pytest.mark.parametrize(
    ("cost", "text"), [(0.0, "0.00"), (0.004, "less than 0.01"), (0.01, "0.01"), (5.199, "5.20")]
)
def test_costs_are_counted_in_hundredths(cost, text):
    assert amount(cost) == text


def test_the_memory_of_this_process_is_plausible():
    assert 50e6 < peak_memory(torch.device("cpu")) < 1e12


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.3456, "0.346 s"),
        (59.0, "59 s"),
        (119, "2 min"),
        (3599, "1 h 0 min"),
        (7800, "2 h 10 min"),
        (1.4e6, "16 d 5 h"),
    ],
)
def test_times_are_told_as_one_plans_by_them(seconds, text):
    assert spoken(seconds) == text
