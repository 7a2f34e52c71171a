"""Schedules: the published levels, the inverse map, and the ends."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from triptych.diffusion.noise_level import SIGMA_DATA
from triptych.diffusion.schedules import SCHEDULES

DIFFUSERS_NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
STEPPED = ("linear", "linear-zero", "cosine", "cosine-zero")
VARIANCE_PRESERVING = (*STEPPED, "linear-continuous")
STEPS = torch.arange(1, 1001, dtype=torch.float64) / 1000


def levels(name):
    return SCHEDULES[name]().level(STEPS)


@pytest.mark.parametrize("name", DIFFUSERS_NAMES)
def test_steps_are_those_of_diffusers(name):
    peer = DDPMScheduler(1000, beta_schedule=DIFFUSERS_NAMES[name])
    # The peer's products are float32: a thousand roundings of 6e-8.
    torch.testing.assert_close(levels(name).alpha ** 2, peer.alphas_cumprod.double(), rtol=3e-4, atol=1e-7)


@pytest.mark.parametrize("name", DIFFUSERS_NAMES)
def test_zero_terminal_steps_are_those_of_diffusers(name):
    betas = DDPMScheduler(1000, beta_schedule=DIFFUSERS_NAMES[name]).betas.double()
    peer = (1 - rescale_zero_terminal_snr(betas)).cumprod(0)
    found = levels(f"{name}-zero")
    torch.testing.assert_close(found.alpha**2, peer, rtol=1e-4, atol=1e-7)
    assert float(found.alpha[-1]) == 0
    assert float(found.sigma[-1]) == 1
    assert float(found.alpha[0]) == pytest.approx(float(levels(name).alpha[0]), abs=1e-15)


def test_linear_is_the_product_of_its_betas():
    betas = [1e-4 + k * (0.02 - 1e-4) / 999 for k in range(1000)]
    product = 1.0
    for k, beta in enumerate(betas):
        product *= 1 - beta
        if k % 111 == 0:
            assert float(levels("linear").alpha[k]) ** 2 == pytest.approx(product, rel=1e-12)


def test_continuous_linear_is_the_limit_of_ever_finer_steps():
    """Its beta at t is 1,000 times that of the step there, as the discrete one is its Euler scheme."""
    t, exact = STEPS[199::200], SCHEDULES["linear-continuous"]()
    errors = []
    for count in (1000, 4000):
        middle = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        betas = (0.1 + middle * 19.9) / count
        log_alpha2 = torch.log1p(-betas).cumsum(0)[(t * count).long() - 1]
        errors.append(float((log_alpha2 - 2 * exact.level(t).alpha.log()).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)


def test_flow_is_straight():
    level = levels("flow")
    torch.testing.assert_close(level.alpha, 1 - STEPS, rtol=0, atol=0)
    torch.testing.assert_close(level.sigma, STEPS, rtol=0, atol=0)


def test_edm_s_images_have_unit_variance_and_its_logarithm_of_noise_is_even():
    level = levels("edm")
    rho = level.sigma / level.alpha
    assert [float(rho[0]), float(rho[-1])] == pytest.approx([0.002, 80.0], rel=1e-12)
    step = math.log(80 / 0.002) / 999
    torch.testing.assert_close(rho.log().diff(), torch.full((999,), step, dtype=torch.float64))
    variance = level.alpha**2 * SIGMA_DATA**2 + level.sigma**2
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_level_and_time_invert_each_other(name):
    schedule = SCHEDULES[name]()
    t = torch.linspace(1e-4, 1, 7777, dtype=torch.float64)
    level = schedule.level(t)
    torch.testing.assert_close(schedule.time(level.log_snr), t, rtol=0, atol=1e-9)
    assert (level.log_snr.diff() < 0).all()


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_variance_is_preserved(name):
    level = SCHEDULES[name]().level(torch.linspace(0, 1, 7777, dtype=torch.float64))
    total = level.alpha**2 + level.sigma**2
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_first_step_is_not_data(name):
    schedule = SCHEDULES[name]()
    data = schedule.level(torch.zeros((), dtype=torch.float64))
    first = schedule.level(torch.tensor(0.001, dtype=torch.float64))
    assert data.is_data and float(data.alpha) == 1
    assert not first.is_data
    assert float(schedule.label(torch.tensor(0.001, dtype=torch.float64))) == 0
    assert float(schedule.label(torch.ones((), dtype=torch.float64))) == 999
    assert float(schedule.time(torch.tensor(float("inf"), dtype=torch.float64))) == 0


@pytest.mark.parametrize("name", STEPPED)
def test_training_visits_every_step_equally(name):
    schedule = SCHEDULES[name]()
    t = schedule.training_time((torch.arange(5000) + 0.5) / 5000)
    labels = schedule.label(t)
    assert torch.equal(labels.long().bincount(), torch.full((1000,), 5))
    assert torch.equal(labels, labels.round())


@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - set(STEPPED)))
def test_training_visits_all_times_equally_but_data(name):
    t = SCHEDULES[name]().training_time(torch.arange(5000) / 5000)
    torch.testing.assert_close(t, 1 - torch.arange(5000, dtype=torch.float64) / 5000, rtol=0, atol=1e-7)
    assert (t > 0).all()
