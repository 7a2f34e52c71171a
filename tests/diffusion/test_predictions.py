"""Predictions: every target leads back to the image it was made from; what is undefined is refused."""

import pytest
import torch

from triptych.diffusion import DiffusionConfig
from triptych.diffusion.noise_level import DATA, NoiseLevel, add_noise, along
from triptych.diffusion.predictions import PREDICTIONS, EpsPrediction
from triptych.diffusion.schedules import SCHEDULES
from triptych.errors import UserError

TIMES = torch.linspace(0.001, 1, 200, dtype=torch.float64)
PAIRS = [
    (schedule, name)
    for schedule, make in SCHEDULES.items()
    for name, prediction in PREDICTIONS.items()
    if prediction.defined(make().level(TIMES)).all()
]
REFUSED = [(s, p) for s in SCHEDULES for p in PREDICTIONS if (s, p) not in PAIRS]


def triple(dtype, schedule):
    level = SCHEDULES[schedule]().level(TIMES)
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(200, 1, 4, 4, generator=generator, dtype=dtype) * 2 - 1
    eps = torch.randn(200, 1, 4, 4, generator=generator, dtype=dtype)
    return x0, eps, add_noise(x0, eps, level), level


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("schedule", "name"), PAIRS)
def test_target_and_x0_invert_each_other(schedule, name, dtype):
    """To eight roundings, of numbers as large as noise is beside the signal, or the signal beside noise."""
    x0, eps, x, level = triple(dtype, schedule)
    prediction = PREDICTIONS[name]
    found = prediction.to_x0(prediction.target(x0, eps, level), x, level)
    ratio = level.sigma / level.alpha.clamp(min=1e-3 if name != "eps" else 0)
    bound = 8 * torch.finfo(dtype).eps * along(torch.maximum(ratio, 1 / ratio).clamp(min=1), x)
    assert ((found - x0).abs() <= bound * eps.abs().amax()).all()


def test_what_is_refused_is_known():
    """eps where a schedule ends without signal, v where alpha^2 + sigma^2 is not 1."""
    assert set(REFUSED) == {
        *(("linear-zero", "eps"), ("cosine-zero", "eps"), ("flow", "eps")),
        *(("flow", "v"), ("edm", "v")),
    }


@pytest.mark.parametrize(("schedule", "prediction"), REFUSED)
def test_pairs_that_are_undefined_are_refused_in_one_line(schedule, prediction):
    with pytest.raises(UserError, match=r"; predict .*x0, ") as raised:
        DiffusionConfig(schedule, prediction)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("schedule", "prediction"), PAIRS)
def test_all_others_can_be_trained(schedule, prediction):
    assert DiffusionConfig(schedule, prediction).build_objective()


def test_eps_without_signal_is_refused():
    level = NoiseLevel(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="predict v or x0"):
        EpsPrediction().to_x0(x, x, level)


@pytest.mark.parametrize("name", sorted(set(PREDICTIONS) - {"eps"}))
def test_without_signal_the_others_are_finite(name):
    level = NoiseLevel(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    x0, eps = torch.rand(2, 1, 3, 3, dtype=torch.float64), torch.randn(2, 1, 3, 3, dtype=torch.float64)
    prediction = PREDICTIONS[name]
    found = prediction.to_x0(prediction.target(x0, eps, level), add_noise(x0, eps, level), level)
    torch.testing.assert_close(found, x0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("schedule", "name"), PAIRS)
def test_what_the_best_network_says_is_read_as_the_posterior_mean(schedule, name):
    """Of data at -1 and 1, where both the best output and the mean of x_0 are sums of two terms."""
    prediction, level = PREDICTIONS[name], SCHEDULES[schedule]().level(TIMES)
    x = torch.linspace(-3, 3, 200, dtype=torch.float64)[:, None]
    alpha, sigma = level.alpha[:, None], level.sigma[:, None]
    share = torch.sigmoid(2 * alpha * x / sigma**2)  # of the data at 1, given x
    best, mean = torch.zeros_like(x), torch.zeros_like(x)
    for x0, weight in ((1.0, share), (-1.0, 1 - share)):
        eps = (x - alpha * x0) / sigma
        best = best + weight * prediction.target(torch.full_like(x, x0), eps, level)
        mean = mean + weight * x0
    found = prediction.to_x0(best, x, level)
    size = 1 + (x / sigma).abs() + (x / alpha).nan_to_num(posinf=0, neginf=0).abs()
    assert ((found - mean).abs() <= 1e-12 * size).all()


def test_add_noise_at_data_changes_nothing():
    x0 = torch.rand(3, 1, 2, 2)
    assert torch.equal(add_noise(x0, torch.randn(3, 1, 2, 2), DATA), x0)
