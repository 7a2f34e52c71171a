"""Multistep solvers against diffusers' schedulers, step by step on one eps function.

The peers are given our noise levels, and our images before every step. They compute in float32 where ours
are in float64, which is what the tolerance is for. Their last step, to data, is left to other tests.
"""

import warnings

import pytest
import torch
from diffusers import DEISMultistepScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from sampling.test_against_diffusers import SHAPE, SmoothEps, noise

from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.guidance import GuidedDenoiser
from triptych.random import Stream, normal
from triptych.sampling import named_sampler
from triptych.sampling.dpm_solver import bends
from triptych.sampling.multistep import Seen
from triptych.sampling.sampler import sample

STEPS = 12
KEPT = {"lower_order_final": False, "timestep_spacing": "trailing"}


def peer_on(levels, kind, **options):
    """Return a scheduler that walks down our levels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = kind(**KEPT, **options)
    peer.set_timesteps(STEPS)
    assert len(peer.timesteps) == len(levels) - 1
    peer.sigmas = torch.stack([level.sigma / level.alpha for level in levels])
    return peer


def steps_of_both(spec, kind, **options):
    """Yield our images after every step but the last, and the peer's, from the same before it."""
    config = named_sampler(f"{spec}", steps=STEPS, clip=False)
    denoiser = Denoiser(SmoothEps(), SCHEDULES["linear"](), PREDICTIONS["eps"])
    levels = config.levels(denoiser.schedule)
    peer = peer_on(levels, kind, **options)
    x = normal(1, Stream.INITIAL_NOISE, 0, torch.arange(SHAPE[0]), SHAPE[1:]).double()
    guided = GuidedDenoiser(denoiser, None, 0.0, clip=False)
    for step in sample(config.build(), guided, levels, x, noise):
        level = levels[step.i]
        if step.i == STEPS - 1:
            return
        x0 = guided(x, level)
        eps = (x - level.alpha * x0) / level.sigma
        extra = {"variance_noise": noise(step.i)} if "sde" in options.get("algorithm_type", "") else {}
        theirs = peer.step(eps, peer.timesteps[step.i], x, **extra).prev_sample
        yield step, theirs
        x = step.x


def assert_equal(spec, kind, **options):
    seen = 0
    for step, theirs in steps_of_both(spec, kind, **options):
        torch.testing.assert_close(step.x, theirs.double(), rtol=2e-5, atol=2e-5)
        seen += 1
    assert seen == STEPS - 1


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("eta", "algorithm"), [(0, "dpmsolver++"), (1, "sde-dpmsolver++")])
def test_dpm_solver(order, eta, algorithm):
    spec = f"dpm++,order={order},eta={eta}"
    assert_equal(spec, DPMSolverMultistepScheduler, solver_order=order, algorithm_type=algorithm)


@pytest.mark.parametrize("function", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc(order, function):
    spec = f"unipc,order={order},function={function}"
    assert_equal(spec, UniPCMultistepScheduler, solver_order=order, solver_type=function)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis(order):
    assert_equal(f"deis,order={order}", DEISMultistepScheduler, solver_order=order)


def test_third_order_differs_by_half_of_its_last_term():
    """The peer counts the second divided difference once, as if it were the second derivative.

    So its order is 2, where the polynomial integrated exactly has 3 (`test_orders`).
    """
    spec, options = "dpm++,order=3", {"solver_order": 3, "algorithm_type": "dpmsolver++"}
    levels = named_sampler(spec, steps=STEPS).levels(SCHEDULES["linear"]())
    seen: list[Seen] = []
    for step, theirs in steps_of_both(spec, DPMSolverMultistepScheduler, **options):
        t, s = levels[step.i : step.i + 2]
        seen.insert(0, Seen(t, step.x, step.x0))
        half = 0.0
        if len(seen) > 2:
            h = (s.log_snr - t.log_snr) / 2
            _, (weight, curve) = bends(seen[:3], h, h)
            half = s.alpha * weight / 2 * curve
            assert float(half.abs().max()) > 1e-4
        torch.testing.assert_close(step.x - half, theirs.double(), rtol=2e-5, atol=2e-5)
