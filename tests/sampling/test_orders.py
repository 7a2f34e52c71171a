"""Every deterministic sampler at its order of convergence, on Gaussian data with the exact denoiser."""

import math

import pytest
import torch

from triptych.diffusion.noise_level import NoiseLevel
from triptych.sampling import named_sampler
from triptych.sampling.multistep import Seen
from triptych.sampling.sampler import SamplerState, sample

MEAN, DEVIATION = 0.3, 0.5
X = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
"""Standardised positions, which do not change along the probability flow of Gaussian data."""

HIGHEST, LOWEST = 4.0, 0.05
"""rho at the ends of the grids: none of them ends at data, where a multistep method has no order."""


def vp(rho):
    alpha = 1 / (1 + rho**2).sqrt()
    return NoiseLevel(alpha, rho * alpha)


def flow(rho):
    return NoiseLevel(1 / (1 + rho), rho / (1 + rho))


def edm(rho):
    return NoiseLevel(torch.ones_like(rho), rho)


LEVELS = {"ddpm": vp, "flow": flow, "edm": edm}


def log_grid(position):
    """Even in log-SNR: `position` runs from 0 to 1."""
    return math.log(HIGHEST) + position * (math.log(LOWEST) - math.log(HIGHEST))


def even_log(position):
    return log_grid(position).exp()


def karras(position):
    a, b = HIGHEST ** (1 / 7), LOWEST ** (1 / 7)
    return (a + position * (b - a)) ** 7


def even_rho(position):
    return HIGHEST + position * (LOWEST - HIGHEST)


def exact(x, level):
    """E[x_0 | x_t] for x_0 ~ N(MEAN, DEVIATION^2)."""
    gain = level.alpha * DEVIATION**2 / (level.alpha**2 * DEVIATION**2 + level.sigma**2)
    return MEAN + gain * (x - level.alpha * MEAN)


def images(level):
    """Where the probability flow has carried X by then."""
    return level.alpha * MEAN + (level.alpha**2 * DEVIATION**2 + level.sigma**2).sqrt() * X


def error(spec, kind, grid, steps, known):
    """The distance from the truth after so many steps, the first of them with `known` earlier levels seen."""
    levels = [LEVELS[kind](grid(p)) for p in torch.arange(-known, steps + 1, dtype=torch.float64) / steps]
    before = [Seen(level, images(level), exact(images(level), level)) for level in levels[:known]]
    levels = levels[known:]
    sampler, state = named_sampler(spec).build(), SamplerState(images(levels[0]), tuple(reversed(before)))
    for i in range(steps):
        state, _ = sampler.step(state, i, levels, exact, lambda i: None)
    return float((state.x - images(levels[-1])).abs().max())


def order(spec, grid, known=0, kind="ddpm"):
    """The exponent with which the error falls as steps become more."""
    return math.log2(error(spec, kind, grid, 256, known) / error(spec, kind, grid, 512, known))


ORDERS = {
    "ddim": 1,
    "euler": 1,
    "heun": 2,
    "dpm++,order=1": 1,
    "dpm++,order=2": 2,
    "dpm++,order=3": 3,
    "unipc,order=1": 2,
    "unipc,order=2": 3,
    "unipc,order=3": 4,
    "unipc,order=3,function=bh1": 4,
    "deis,order=1": 1,
    "deis,order=2": 2,
    "deis,order=3": 3,
    "deis,order=4": 4,
    "deis,order=3,variable=rho": 3,
    "ipndm,order=1": 1,
    "ipndm,order=2": 2,
    "ipndm,order=3": 2,
    "ipndm,order=4": 2,
}
"""With exact history, on grids whose steps are not all equal in rho."""


@pytest.mark.parametrize("grid", [even_log, karras])
@pytest.mark.parametrize("spec", ORDERS)
def test_with_exact_history_each_has_its_order(spec, grid):
    assert order(spec, grid, known=3) == pytest.approx(ORDERS[spec], abs=0.2)


@pytest.mark.parametrize("grid", [even_log, karras])
@pytest.mark.parametrize("spec", ORDERS)
def test_started_by_itself_each_has_at_least_order_two_or_its_own(spec, grid):
    """The first steps have less to extrapolate from, and their errors stay."""
    assert order(spec, grid) > min(ORDERS[spec], 2) - 0.2


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_ipndm_has_as_high_an_order_as_it_has_slopes_where_steps_are_equal(count):
    assert order(f"ipndm,order={count}", even_rho, known=3) > count - 0.2


@pytest.mark.parametrize("spec", ORDERS)
def test_how_signal_and_noise_are_scaled_changes_nothing(spec):
    """The path of a Gaussian depends on the ratio of noise to signal alone: DDPM, flow and EDM are one."""
    errors = [error(spec, kind, karras, 12, known=0) for kind in LEVELS]
    scales = [float(LEVELS[kind](karras(torch.ones((), dtype=torch.float64))).alpha) for kind in LEVELS]
    relative = [found / scale for found, scale in zip(errors, scales, strict=True)]
    assert relative == pytest.approx([relative[0]] * len(relative), rel=1e-9)


@pytest.mark.parametrize("spec", ORDERS)
def test_pure_noise_is_a_beginning(spec):
    """No signal at all, as at the end of a flow: the step from there needs none."""
    levels = [NoiseLevel(1 - t, t) for t in torch.linspace(1, 0, 21, dtype=torch.float64)]
    eps = X[5:-5]
    *_, last = sample(named_sampler(spec).build(), exact, levels, eps, lambda i: None)
    assert last.level.is_data
    torch.testing.assert_close(last.x, MEAN + DEVIATION * eps, rtol=0, atol=0.12)


def test_euler_is_ddim():
    assert error("euler", "flow", karras, 10, 0) == pytest.approx(
        error("ddim", "flow", karras, 10, 0), rel=1e-12
    )
