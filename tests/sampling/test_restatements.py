"""Heun's method and DPM-Solver++(2M) against their papers' algorithms, in the variables of these."""

import pytest
import torch

from triptych.diffusion.noise_level import NoiseLevel
from triptych.random import Stream, normal
from triptych.sampling import named_sampler
from triptych.sampling.sampler import sample

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
SHAPE = (3, 1, 4, 4)


def denoised(x, sigma):
    """A smooth guess at clean images, of images with noise of standard deviation sigma and full signal."""
    return torch.tanh(x / (1 + sigma)) + 0.1 * torch.sin(3 * x) / (1 + sigma**2)


def of_level(x, level):
    return denoised(x / level.alpha, level.sigma / level.alpha)


def drawn(spec, levels, x):
    def noise(i):
        return normal(0, Stream.SAMPLER_NOISE, i, torch.arange(SHAPE[0]), SHAPE[1:]).double()

    *_, last = sample(named_sampler(spec).build(), of_level, levels, x, noise)
    return last.x, noise


@pytest.fixture
def start():
    return normal(1, Stream.INITIAL_NOISE, 0, torch.arange(SHAPE[0]), SHAPE[1:]).double()


@pytest.mark.parametrize("churn", [0, 8])
def test_heun(start, churn):
    """EDM, algorithm 2, with S_tmin 0.05, S_tmax 50 and S_noise 1.003."""
    n = 9
    t = [(80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(n)] + [0.0]
    levels = [NoiseLevel(torch.ones(()).double(), torch.tensor(value, dtype=torch.float64)) for value in t]
    spec = f"heun:{n},churn={churn},churn_from=0.05,churn_to=50,churn_noise=1.003"
    found, noise = drawn(spec, levels, 80 * start)
    x = 80 * start
    for i in range(n):
        gamma = min(churn / n, 2**0.5 - 1) if 0.05 <= t[i] <= 50 else 0.0
        t_hat = t[i] + gamma * t[i]
        x_hat = x + (t_hat**2 - t[i] ** 2) ** 0.5 * 1.003 * noise(i)
        d = (x_hat - denoised(x_hat, t_hat)) / t_hat
        x = x_hat + (t[i + 1] - t_hat) * d
        if t[i + 1] != 0:
            d_next = (x - denoised(x, t[i + 1])) / t[i + 1]
            x = x_hat + (t[i + 1] - t_hat) * (d / 2 + d_next / 2)
    torch.testing.assert_close(found, x, **TOLERANCE)


def test_dpm_solver_2m(start):
    """DPM-Solver++, algorithm 2, in lambda = log(alpha / sigma), on a variance-preserving grid."""
    lambdas = torch.linspace(-4, 4, 14, dtype=torch.float64)
    alphas, sigmas = torch.sigmoid(2 * lambdas).sqrt(), torch.sigmoid(-2 * lambdas).sqrt()
    levels = [NoiseLevel(alpha, sigma) for alpha, sigma in zip(alphas, sigmas, strict=True)]
    found, _ = drawn("dpm++", levels, start)

    def predicted(x, i):
        return denoised(x / alphas[i], sigmas[i] / alphas[i])

    h = lambdas.diff()
    q = [predicted(start, 0)]
    x = sigmas[1] / sigmas[0] * start - alphas[1] * torch.expm1(-h[0]) * q[0]
    for i in range(2, len(lambdas)):
        q.append(predicted(x, i - 1))
        r = h[i - 2] / h[i - 1]
        d = (1 + 1 / (2 * r)) * q[-1] - 1 / (2 * r) * q[-2]
        x = sigmas[i] / sigmas[i - 1] * x - alphas[i] * torch.expm1(-h[i - 1]) * d
    torch.testing.assert_close(found, x, **TOLERANCE)
