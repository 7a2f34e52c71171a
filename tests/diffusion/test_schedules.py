"""Schedules: the published betas, the inverse map, and the ends."""

import pytest
import torch
from diffusers import DDPMScheduler

from triptych.diffusion.schedules import SCHEDULES

DIFFUSERS_NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


@pytest.mark.parametrize("name", SCHEDULES)
def test_steps_are_those_of_diffusers(name):
    schedule = SCHEDULES[name]()
    peer = DDPMScheduler(1000, beta_schedule=DIFFUSERS_NAMES[name])
    level = schedule.level(torch.arange(1, 1001, dtype=torch.float64) / 1000)
    # The peer's products are float32: a thousand roundings of 6e-8.
    torch.testing.assert_close(level.alpha**2, peer.alphas_cumprod.double(), rtol=3e-4, atol=1e-7)


def test_linear_is_the_product_of_its_betas():
    betas = [1e-4 + k * (0.02 - 1e-4) / 999 for k in range(1000)]
    product = 1.0
    for k, beta in enumerate(betas):
        product *= 1 - beta
        if k % 111 == 0:
            level = SCHEDULES["linear"]().level(torch.tensor((k + 1) / 1000, dtype=torch.float64))
            assert float(level.alpha) ** 2 == pytest.approx(product, rel=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_level_and_time_invert_each_other(name):
    schedule = SCHEDULES[name]()
    t = torch.linspace(1e-4, 1, 7777, dtype=torch.float64)
    level = schedule.level(t)
    torch.testing.assert_close(schedule.time(level.log_snr), t, rtol=0, atol=1e-9)
    torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.ones_like(t), rtol=0, atol=1e-14)
    assert (level.log_snr.diff() < 0).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_first_step_is_not_data(name):
    schedule = SCHEDULES[name]()
    data = schedule.level(torch.zeros((), dtype=torch.float64))
    first = schedule.level(torch.tensor(0.001, dtype=torch.float64))
    assert data.is_data and float(data.alpha) == 1
    assert not first.is_data
    assert float(schedule.label(torch.tensor(0.001, dtype=torch.float64))) == 0
    assert float(schedule.time(torch.tensor(float("inf"), dtype=torch.float64))) == 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_training_visits_every_step_equally(name):
    schedule = SCHEDULES[name]()
    t = schedule.training_time((torch.arange(5000) + 0.5) / 5000)
    labels = schedule.label(t)
    assert torch.equal(labels.long().bincount(), torch.full((1000,), 5))
    assert torch.equal(labels, labels.round())
