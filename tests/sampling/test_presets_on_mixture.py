"""What presets promise, held against the exact path of a mixture around real digits."""

from functools import cache

import pytest
from samplers_on_mixture import Mixture, specs, table
from samplers_on_mixture import grey_levels as between

from triptych.sampling import named_sampler
from triptych.sampling.presets import PRESETS

COUNT = 10


@cache
def mixture():
    return Mixture.of_digits()


@cache
def ends(spec, scale, schedule):
    x, calls = mixture().endpoints(spec, scale, COUNT, schedule)
    return x, calls


def grey_levels(spec, scale=1.0, schedule="flow"):
    """Return how far a sampler's images end from those of the path."""
    grid = "karras" if "spacing" in spec else "trailing"  # which begin elsewhere
    truth, _ = ends(f"heun:400,spacing={grid}", scale, schedule)
    return between(ends(spec, scale, schedule)[0], truth)


@pytest.mark.parametrize("schedule", ["flow", "cosine", "linear", "edm"])
def test_fast_is_nearer_than_ddim_in_as_many_calls_and_quality_is_there(schedule):
    (fast,), (quality,) = PRESETS["fast"], PRESETS["quality"]
    assert ends(fast, 1.0, schedule)[1] == 10
    assert ends(quality, 1.0, schedule)[1] <= 36
    assert grey_levels(fast, schedule=schedule) < 0.6 * grey_levels("ddim:10", schedule=schedule)
    assert grey_levels(quality, schedule=schedule) < 0.5
    assert grey_levels(quality, schedule=schedule) < 0.2 * grey_levels("ddim:50", schedule=schedule)


@pytest.mark.parametrize("schedule", ["flow", "cosine", "linear", "edm"])
def test_guided_is_nearer_than_ddim_in_more_calls(schedule):
    (guided,) = PRESETS["guided"]
    assert ends(guided, 2.0, schedule)[1] == 40
    assert grey_levels(guided, 2.0, schedule) < 1.0
    assert grey_levels(guided, 2.0, schedule) < 0.6 * grey_levels("ddim:50", 2.0, schedule)


def test_the_exact_denoiser_leads_to_the_digits():
    """Without guidance the path ends at the mixture: its pixels lie about a deviation, 0.2, from a centre."""
    x, _ = ends("unipc:36,spacing=log-snr", 1.0, "flow")
    nearest = (x[:, None] - mixture().centres).square().mean(2).sqrt().min(1).values
    assert 0.18 < float(nearest.mean()) < 0.22
    assert float(nearest.max()) < 0.27


def test_samplers_are_set_beside_each_other_at_equal_calls():
    for scale, per_step in ((1.0, 1), (2.0, 2)):
        for _, spec, _ in specs(20, per_step):
            calls = ends(f"{spec}", scale, "flow")[1]
            assert 20 - 3 * per_step <= calls <= 20, named_sampler(spec).label
    text = table({"ddim": {6: (2.0, "karras")}, "heun": {6: (1.0, "trailing")}}, [6])
    assert text.splitlines()[2:] == ["| `ddim` | 2.00 karras |", "| `heun` | **1.00** trailing |"]
