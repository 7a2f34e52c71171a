"""Predictions: every target leads back to the image it was made from; what is undefined is refused."""

import pytest
import torch

from triptych.diffusion.noise_level import DATA, NoiseLevel, add_noise, along
from triptych.diffusion.objectives import PredictionMSE
from triptych.diffusion.predictions import PREDICTIONS, EpsPrediction
from triptych.diffusion.schedules import linear


@pytest.mark.parametrize("name", PREDICTIONS)
def test_target_and_x0_invert_each_other(name):
    t = torch.linspace(0.001, 1, 200, dtype=torch.float64)
    level = linear().level(t)
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(200, 1, 4, 4, generator=generator, dtype=torch.float64) * 2 - 1
    eps = torch.randn(200, 1, 4, 4, generator=generator, dtype=torch.float64)
    x = add_noise(x0, eps, level)
    prediction = PREDICTIONS[name]
    found = prediction.to_x0(prediction.target(x0, eps, level), x, level)
    # One rounding of x, multiplied by 1 / alpha where the noise is subtracted.
    bound = 8 * 2.2e-16 * along(1 / level.alpha, x) * x.abs().amax()
    assert ((found - x0).abs() <= bound).all()


def test_eps_without_signal_is_refused():
    level = NoiseLevel(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="predict v or x0"):
        EpsPrediction().to_x0(x, x, level)


def test_add_noise_at_data_changes_nothing():
    x0 = torch.rand(3, 1, 2, 2)
    assert torch.equal(add_noise(x0, torch.randn(3, 1, 2, 2), DATA), x0)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_loss_is_zero_for_the_truth_and_the_mean_square_otherwise(name):
    """A predictor that answers with the target, and one that is off by a half everywhere."""
    prediction, schedule = PREDICTIONS[name], linear()
    x0, eps = torch.rand(5, 1, 3, 3), torch.randn(5, 1, 3, 3)
    t = torch.tensor([0.1, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)

    class Oracle:
        def __init__(self, offset):
            self.schedule, self.prediction, self.offset = schedule, prediction, offset

        def output(self, x, times, class_label):
            assert torch.equal(times, t)
            return prediction.target(x0, eps, schedule.level(times)) + self.offset

    for offset in (0.0, 0.5):
        loss = PredictionMSE().loss(Oracle(offset), x0, eps, t, None, 0.0)
        torch.testing.assert_close(loss, torch.full((5,), offset**2))
