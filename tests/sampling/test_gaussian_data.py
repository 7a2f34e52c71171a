"""Samplers on Gaussian data, where the best denoiser and the resulting distribution have closed forms."""

import itertools

import pytest
import torch

from triptych.diffusion.schedules import SCHEDULES
from triptych.random import Stream, normal
from triptych.sampling import SAMPLERS, named_sampler
from triptych.sampling.ddim import DDIM
from triptych.sampling.sampler import sample

MEAN, DEVIATION = 0.3, 0.5
SHAPE = (4,)
"""Of an image: four numbers are drawn at once, in the time of one."""


MANY = [
    *(f"{name}:1000" for name in SAMPLERS),
    *("ddim:1000,eta=1", "dpm++:1000,eta=1", "dpm++:1000,eta=0.5,order=3"),
    *("heun:200,churn=40", "euler:1000,churn=100,churn_from=0.1,churn_to=5"),
]


def exact(x, level):
    """E[x_0 | x_t] for x_0 ~ N(MEAN, DEVIATION^2)."""
    gain = level.alpha * DEVIATION**2 / (level.alpha**2 * DEVIATION**2 + level.sigma**2)
    return MEAN + gain * (x - level.alpha * MEAN)


def steps_of(config, count, schedule="cosine"):
    levels = config.levels(SCHEDULES[schedule]())
    index = torch.arange(count)
    x = normal(0, Stream.INITIAL_NOISE, 0, index, SHAPE).double()
    steps = sample(
        config.build(), exact, levels, x, lambda i: normal(0, Stream.SAMPLER_NOISE, i, index, SHAPE).double()
    )
    return list(steps)


def draw(config, count=2_500, schedule="cosine"):
    return steps_of(config, count, schedule)[-1].x


@pytest.mark.parametrize("spec", MANY)
def test_many_steps_give_the_data(spec):
    x = draw(named_sampler(spec))
    assert abs(float(x.mean()) - MEAN) < 0.02
    assert abs(float(x.std()) - DEVIATION) < 0.02


def test_ddpm_moments_follow_their_recursion():
    """Mean and variance of the ancestral chain, computed without drawing anything."""
    config = named_sampler("ddpm:20")
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
    standard_error = (variance / x.numel()) ** 0.5
    assert abs(float(x.mean()) - mean) < 5 * standard_error
    assert abs(float(x.var()) / variance - 1) < 5 * (2 / x.numel()) ** 0.5


def test_ddim_converges_with_order_one():
    """Halving the steps doubles the distance to the exact end of the probability-flow path."""
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
    schedule = SCHEDULES["cosine"]()

    def run(steps):
        levels = [schedule.level(t) for t in torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64)]
        *_, last = sample(DDIM(), exact, levels, x, lambda i: None)
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
    a, b = draw(named_sampler("ddpm:37"), 100), draw(named_sampler("ddim:37,eta=1"), 100)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 3, 7, 50, 333, 1000])
def test_any_number_of_steps(name, steps):
    config = named_sampler(f"{name}:{steps}")
    levels = config.levels(SCHEDULES["linear"]())
    assert len(levels) == steps + 1
    assert levels[-1].is_data
    assert all(a.sigma > b.sigma for a, b in itertools.pairwise(levels))
    assert draw(config, 10).isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_last_step_ends_at_the_predicted_images(name):
    """At data nothing is noisy any more: the samples are the clean images that were predicted last."""
    last = steps_of(named_sampler(f"{name}:5"), 10)[-1]
    assert last.level.is_data
    torch.testing.assert_close(last.x, last.x0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_image_depends_on_its_own_noise_alone(name):
    config = named_sampler(f"{name}:5")
    torch.testing.assert_close(draw(config, 100)[:7], draw(config, 7), rtol=0, atol=0)
