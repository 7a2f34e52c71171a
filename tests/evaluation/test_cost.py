"""What drawing is quoted to take: by a clock that the network alone moves."""

from types import SimpleNamespace

import pytest
from training.tiny import SIZES, TINY

from triptych.evaluation import cost
from triptych.experiment import load_experiment
from triptych.generation import Request
from triptych.sampling import named_sampler


@pytest.mark.parametrize(
    ("spec", "count", "calls"),
    [("ddim:30", 100, 6), ("ddim:4", 1000, 6), ("ddim:12", 100, 4), ("ddim:4", 100, 2), ("ddim:4", 3, 2)],
)
def test_steps_are_timed_for_long_enough_and_the_first_is_not(monkeypatch, spec, count, calls):
    """Half a second of steps of a tenth each, or a fiftieth of what all images will take."""
    denoiser = load_experiment("digits-unet", [*SIZES["unet"], *TINY]).build(1, 8, 10)
    clock = SimpleNamespace(now=0.0, calls=0)

    def ran(*_):
        clock.calls += 1
        clock.now += 1.0 if clock.calls == 1 else 0.1

    denoiser.backbone.register_forward_hook(ran)
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    request = Request(count=count, guidance=2.0, sampler=named_sampler(spec), batch_size=10)
    each = cost.drawing_seconds(denoiser, request)
    assert each == pytest.approx(0.1 * request.sampler.steps / min(count, 10))
    assert clock.calls == calls


def test_a_step_that_takes_long_is_timed_once(monkeypatch):
    denoiser = load_experiment("digits-unet", [*SIZES["unet"], *TINY]).build(1, 8, 10)
    clock = SimpleNamespace(now=0.0)
    denoiser.backbone.register_forward_hook(lambda *_: setattr(clock, "now", clock.now + 60.0))
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    request = Request(count=10, guidance=1.0, sampler=named_sampler("ddpm:1000"), batch_size=10)
    assert cost.drawing_seconds(denoiser, request) == pytest.approx(6000.0)
    assert clock.now == 60.0
