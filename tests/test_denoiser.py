"""Denoiser and guidance: the best denoiser of Gaussian data is found through every prediction and scale."""

import pytest
import torch
from torch import nn

from triptych.denoiser import Denoiser
from triptych.diffusion.noise_level import NoiseLevel, along
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.guidance import GuidedDenoiser

DEVIATION = 0.5
MEANS = torch.tensor([-0.4, 0.4, 0.1])  # of class 0, of class 1, and without a class


class ExactNetwork(nn.Module):
    """The network that predicts, for Gaussian data with a mean per class, exactly the best output."""

    classes = null_class = 2

    def __init__(self, schedule, prediction):
        super().__init__()
        self.schedule, self.prediction = schedule, prediction

    def forward(self, x, label, class_label=None, guidance=None):
        level = self.schedule.level((label.double() + 1) / 1000)
        mean = MEANS[class_label].reshape(-1, 1, 1, 1).to(x)
        variance = level.alpha**2 * DEVIATION**2 + level.sigma**2
        x0 = mean + along(level.alpha * DEVIATION**2 / variance, x) * (x - along(level.alpha, x) * mean)
        eps = (x - along(level.alpha, x) * x0) / along(level.sigma, x)
        return self.prediction.target(x0, eps, level)


def denoiser(prediction="v", schedule="cosine"):
    s = SCHEDULES[schedule]()
    return Denoiser(ExactNetwork(s, PREDICTIONS[prediction]), s, PREDICTIONS[prediction])


def posterior_mean(x, level, mean):
    gain = level.alpha * DEVIATION**2 / (level.alpha**2 * DEVIATION**2 + level.sigma**2)
    return mean + gain * (x - level.alpha * mean)


AT = torch.tensor(0.4, dtype=torch.float64)
PAIRS = [(p, s) for s in SCHEDULES for p in PREDICTIONS if PREDICTIONS[p].defined(SCHEDULES[s]().level(AT))]


@pytest.mark.parametrize(("prediction", "schedule"), PAIRS)
def test_x0_is_the_posterior_mean(prediction, schedule):
    x = torch.linspace(-2, 2, 6, dtype=torch.float64).reshape(6, 1, 1, 1)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    level = SCHEDULES[schedule]().level(AT)
    found = denoiser(prediction, schedule)(x, level, labels)
    truth = posterior_mean(x, level, MEANS[labels].reshape(6, 1, 1, 1).double())
    torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-6)


def test_a_level_of_another_grid_is_found_by_its_signal_to_noise_ratio():
    """The same image on the variance-exploding scale, alpha = 1."""
    own = SCHEDULES["cosine"]().level(torch.tensor(0.6, dtype=torch.float64))
    exploding = NoiseLevel(torch.ones_like(own.alpha), own.sigma / own.alpha)
    x = torch.linspace(-2, 2, 6, dtype=torch.float64).reshape(6, 1, 1, 1)
    labels = torch.zeros(6, dtype=torch.long)
    torch.testing.assert_close(
        denoiser()(x / own.alpha, exploding, labels), denoiser()(x, own, labels), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("scale", "calls"), [(0, 1), (1, 1), (0.5, 2), (3, 2)])
def test_guidance_is_its_formula(scale, calls):
    x = torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    level = SCHEDULES["cosine"]().level(torch.tensor(0.5, dtype=torch.float64))
    guided = GuidedDenoiser(denoiser(), labels, scale, clip=False)
    null, conditional = (denoiser()(x, level, c) for c in (torch.full_like(labels, 2), labels))
    torch.testing.assert_close(guided(x, level), null + scale * (conditional - null))
    assert guided.calls == calls


def test_clipping_comes_after_guidance():
    x = torch.full((2, 1, 1, 1), 2.0)
    labels = torch.tensor([0, 1])
    level = SCHEDULES["cosine"]().level(torch.tensor(0.1, dtype=torch.float64))
    free = GuidedDenoiser(denoiser(), labels, 5.0, clip=False)(x, level)
    clipped = GuidedDenoiser(denoiser(), labels, 5.0, clip=True)(x, level)
    assert free.abs().max() > 1
    assert torch.equal(clipped, free.clamp(-1, 1))


def test_guidance_without_classes_is_refused():
    with pytest.raises(ValueError, match="unconditional"):
        GuidedDenoiser(denoiser(), None, 1.5, clip=True)
