"""Samplers on Gaussian data, where the best denoiser and the resulting distribution have closed forms."""

import itertools

import pytest
import torch

from triptych.diffusion.schedules import SCHEDULES
from triptych.errors import UserError
from triptych.random import Stream, normal
from triptych.sampling import SAMPLERS, SamplerConfig, named_sampler
from triptych.sampling.sampler import sample

MEAN, DEVIATION = 0.3, 0.5


def exact(x, level):
    """E[x_0 | x_t] for x_0 ~ N(MEAN, DEVIATION^2)."""
    gain = level.alpha * DEVIATION**2 / (level.alpha**2 * DEVIATION**2 + level.sigma**2)
    return MEAN + gain * (x - level.alpha * MEAN)


def draw(config, count=10_000, schedule="cosine"):
    levels = config.levels(SCHEDULES[schedule]())
    index = torch.arange(count)
    x = normal(0, Stream.INITIAL_NOISE, 0, index, (1,)).double()
    steps = sample(
        config.build(), exact, levels, x, lambda i: normal(0, Stream.SAMPLER_NOISE, i, index, (1,)).double()
    )
    *_, last = steps
    return last.x


@pytest.mark.parametrize(
    "config",
    [SamplerConfig("ddpm", 1000), SamplerConfig("ddim", 1000), SamplerConfig("ddim", 1000, eta=1.0)],
    ids=lambda c: c.label,
)
def test_many_steps_give_the_data(config):
    x = draw(config)
    assert abs(float(x.mean()) - MEAN) < 0.02
    assert abs(float(x.std()) - DEVIATION) < 0.02


def test_ddpm_moments_follow_their_recursion():
    """Mean and variance of the ancestral chain, computed without drawing anything."""
    config = SamplerConfig("ddpm", 20)
    levels = config.levels(SCHEDULES["linear"]())
    mean, variance = 0.0, 1.0
    for t, s in itertools.pairwise(levels):
        kept = float(t.alpha / s.alpha)
        added = float(t.sigma**2) - kept**2 * float(s.sigma**2)
        a = kept * float(s.sigma**2 / t.sigma**2)
        b = float(s.alpha) * added / float(t.sigma**2)
        gain = float(t.alpha) * DEVIATION**2 / (float(t.alpha**2) * DEVIATION**2 + float(t.sigma**2))
        offset = b * (MEAN - gain * float(t.alpha) * MEAN)
        factor = a + b * gain
        mean, variance = factor * mean + offset, factor**2 * variance + added * float(s.sigma**2 / t.sigma**2)
    x = draw(config, schedule="linear")
    standard_error = (variance / len(x)) ** 0.5
    assert abs(float(x.mean()) - mean) < 5 * standard_error
    assert abs(float(x.var()) / variance - 1) < 5 * (2 / len(x)) ** 0.5


def test_ddim_converges_with_order_one():
    """Halving the steps doubles the distance to the exact end of the probability-flow path."""
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
    schedule = SCHEDULES["cosine"]()

    def run(steps):
        levels = [schedule.level(t) for t in torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64)]
        *_, last = sample(SamplerConfig("ddim").build(), exact, levels, x, lambda i: None)
        start, end = levels[0], levels[-1]

        def spread(level):
            return (level.alpha**2 * DEVIATION**2 + level.sigma**2).sqrt()

        # Along the flow of Gaussian data the standardised position does not change.
        truth = end.alpha * MEAN + spread(end) / spread(start) * (x - start.alpha * MEAN)
        return float((last.x - truth).abs().max())

    errors = [run(n) for n in (40, 80, 160, 320)]
    ratios = [a / b for a, b in itertools.pairwise(errors)]
    assert ratios == pytest.approx([2.0] * 3, abs=0.15)


def test_eta_one_is_ddpm():
    """DDIM with eta = 1 draws from the same posterior as DDPM with the small variance."""
    a, b = draw(SamplerConfig("ddpm", 37), 100), draw(SamplerConfig("ddim", 37, eta=1.0), 100)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 3, 7, 50, 333, 1000])
def test_any_number_of_steps(steps):
    levels = SamplerConfig("ddim", steps).levels(SCHEDULES["linear"]())
    assert len(levels) == steps + 1
    assert levels[-1].is_data
    assert all(a.sigma > b.sigma for a, b in itertools.pairwise(levels))
    assert draw(SamplerConfig("ddim", steps), 10).isfinite().all()


def test_names_and_labels():
    assert named_sampler("ddim:50") == SamplerConfig("ddim", 50)
    assert named_sampler("ddpm") == SamplerConfig("ddpm", 1000)
    assert named_sampler("ddim:10", SamplerConfig(eta=0.5)).label == "ddim:10,eta=0.5"
    for bad in ("euler", "ddim:x", "ddim:0", "ddim:-3"):
        with pytest.raises(UserError):
            named_sampler(bad)
    assert set(SAMPLERS) == {"ddpm", "ddim"}
