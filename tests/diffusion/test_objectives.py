"""Objectives: weights as their papers have them, whatever the network predicts; and the times they visit."""

import pytest
import scipy.stats
import torch

from triptych.diffusion import DiffusionConfig
from triptych.diffusion.noise_level import SIGMA_DATA, add_noise
from triptych.diffusion.objectives import WEIGHTS, PredictionMSE
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.diffusion.times import TIMES
from triptych.errors import UserError

T = torch.tensor([0.02, 0.1, 0.3, 0.5, 0.9], dtype=torch.float64)


class Answers:
    """A network that is off by `error`, in units of what it predicts, from the truth of one batch."""

    def __init__(self, schedule, prediction, x0, eps, error):
        self.schedule, self.prediction = SCHEDULES[schedule](), PREDICTIONS[prediction]
        self.x0, self.eps, self.error = x0, eps, error

    def output(self, x, t, class_label):
        assert torch.equal(t, T)
        return self.prediction.target(self.x0, self.eps, self.schedule.level(t)) + self.error


def batch():
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(5, 1, 3, 3, generator=generator, dtype=torch.float64) * 2 - 1
    noise = [torch.randn(5, 1, 3, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
    return x0, *noise


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_plain_loss_is_zero_for_the_truth_and_the_mean_square_otherwise(prediction):
    x0, eps, _ = batch()
    for offset in (0.0, 0.5):
        loss = PredictionMSE().loss(Answers("linear", prediction, x0, eps, offset), x0, eps, T, None, 0.0)
        torch.testing.assert_close(loss, torch.full((5,), offset**2, dtype=torch.float64))


@pytest.mark.parametrize("name", [name for name in WEIGHTS if WEIGHTS[name]])
@pytest.mark.parametrize(
    ("schedule", "prediction"),
    [("cosine", "eps"), ("cosine", "v"), ("linear", "x0"), ("flow", "velocity"), ("edm", "edm")],
)
def test_a_weight_is_that_of_the_error_of_x0(name, schedule, prediction):
    x0, eps, error = batch()
    denoiser = Answers(schedule, prediction, x0, eps, error)
    loss = PredictionMSE(WEIGHTS[name]).loss(denoiser, x0, eps, T, None, 0.1)
    level = denoiser.schedule.level(T)
    x = add_noise(x0, eps, level)
    read = denoiser.prediction.to_x0(denoiser.output(x, T, None), x, level)
    expected = WEIGHTS[name](level, 0.1) * (read - x0).square().flatten(1).mean(1)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)


def weight_of(objective, schedule, prediction, progress=1.0):
    """What an objective multiplies the squared error of the quantity itself by, at every level."""
    ones = torch.ones(5, 1, 1, 1, dtype=torch.float64)
    denoiser = Answers(schedule, prediction, ones, ones, 1.0)
    return PredictionMSE(WEIGHTS[objective]).loss(denoiser, ones, ones, T, None, progress)


def test_weights_are_those_of_the_papers():
    level = SCHEDULES["cosine"]().level(T)
    snr = level.alpha**2 / level.sigma**2
    five = torch.full_like(snr, 5)
    published = {
        ("min-snr", "eps"): torch.minimum(snr, five) / snr,
        ("min-snr", "x0"): torch.minimum(snr, five),
        ("min-snr", "v"): torch.minimum(snr, five) / (snr + 1),
        ("soft-min-snr", "x0"): 5 * snr / (snr + 5),
        ("p2", "eps"): 1 / (1 + snr),
    }
    for (objective, prediction), expected in published.items():
        torch.testing.assert_close(weight_of(objective, "cosine", prediction), expected, rtol=1e-9, atol=0)


def test_edm_s_weight_of_its_own_quantity_is_one():
    torch.testing.assert_close(weight_of("edm", "edm", "edm"), torch.ones(5, dtype=torch.float64))
    rho = (lambda level: level.sigma / level.alpha)(SCHEDULES["edm"]().level(T))
    of_x0 = weight_of("edm", "edm", "x0")
    torch.testing.assert_close(of_x0, (rho**2 + SIGMA_DATA**2) / (rho * SIGMA_DATA) ** 2, rtol=1e-9, atol=0)


def test_fdm_s_bound_grows_a_hundredfold_and_then_ends():
    free = weight_of("edm", "edm", "x0")
    for progress, bound in ((0.0, 5), (0.1, 50), (0.2 - 1e-9, 500)):
        found = weight_of("fdm", "edm", "x0", progress)
        torch.testing.assert_close(found, free.clamp(max=bound), rtol=1e-6, atol=0)
    assert torch.equal(weight_of("fdm", "edm", "x0", 0.2), free)
    assert float(free.max()) > 500


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_log_normal_times_are_normal_in_the_logarithm_of_noise(schedule):
    """As far as the schedule has such levels."""
    made = SCHEDULES[schedule]()
    u = (torch.arange(1001) / 1001).float()
    level = made.level(TIMES["log-normal"](u, made))
    expected = scipy.stats.norm.ppf(u.double() + 2.0**-25, -1.2, 1.2)
    found = (level.sigma / level.alpha).log()
    inside = slice(60, 990)
    torch.testing.assert_close(found[inside], torch.tensor(expected)[inside], rtol=0, atol=1e-6)
    assert (found.diff() >= 0).all()


def test_logit_normal_times_have_normal_logits():
    u = (torch.arange(1001) / 1001).float()
    t = TIMES["logit-normal"](u, SCHEDULES["flow"]())
    expected = scipy.stats.norm.ppf(u.double() + 2.0**-25)
    torch.testing.assert_close(t.logit(), torch.tensor(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_number_that_is_drawn_leads_out_of_the_schedule(times, schedule):
    made = SCHEDULES[schedule]()
    t = TIMES[times](torch.tensor([0.0, 0.5, 1 - 2.0**-24]), made)
    assert ((t > 0) & (t <= 1)).all()
    assert not made.level(t).sigma.eq(0).any()


@pytest.mark.parametrize("field", ["schedule", "prediction", "objective", "times"])
def test_names_that_are_in_no_list_are_refused(field):
    with pytest.raises(UserError, match=f"diffusion.{field} nonsense: no such name; choose from "):
        DiffusionConfig(**{field: "nonsense"})
