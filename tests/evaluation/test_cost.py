"""What drawing is quoted to take: by a clock that the network alone moves."""

from types import SimpleNamespace

import pytest
from training.tiny import SIZES, TINY

from triptych.evaluation import cost
from triptych.experiment import load_experiment
from triptych.generation import Request
from triptych.guidance import named_guide
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


def test_what_makes_a_kind_of_step_ready_is_not_its_time(monkeypatch):
    """A guide that begins on the way has calls of two sizes, each of which may be recorded first."""
    denoiser = load_experiment("digits-unet", [*SIZES["unet"], *TINY]).build(1, 8, 10)
    clock, seen = SimpleNamespace(now=0.0), set()

    def ran(_, given, output):
        size = len(given[0])
        clock.now += (0.1 if size == 10 else 0.2) if size in seen else 5.0
        seen.add(size)

    denoiser.backbone.register_forward_hook(ran)
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(cost, "LONG", 100.0)
    guide = named_guide("cfg,below=1")
    request = Request(4000, 2.0, named_sampler("ddim:6"), batch_size=10, guide=guide)
    calls = cost.network_calls(denoiser, request)
    assert cost.drawing_seconds(denoiser, request) == pytest.approx(0.1 * calls / 10)


def test_a_step_that_takes_long_is_timed_once(monkeypatch):
    denoiser = load_experiment("digits-unet", [*SIZES["unet"], *TINY]).build(1, 8, 10)
    clock = SimpleNamespace(now=0.0)
    denoiser.backbone.register_forward_hook(lambda *_: setattr(clock, "now", clock.now + 60.0))
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    request = Request(count=10, guidance=1.0, sampler=named_sampler("ddpm:1000"), batch_size=10)
    assert cost.drawing_seconds(denoiser, request) == pytest.approx(6000.0)
    assert clock.now == 60.0
