"""DDPM and DDIM against diffusers' schedulers, step by step on one eps function.

The peer is right about its own grid only: `leading` spacing, a number of steps that divides 1,000, and
for DDIM with clipping `use_clipped_model_output`, by which it re-derives the noise from the clipped image.
Its betas are put into float64, so that what is left to differ is the arithmetic and not its rounding.
"""

import math
from functools import cache
from itertools import pairwise

import diffusers.schedulers.scheduling_ddim as peer_ddim
import diffusers.schedulers.scheduling_ddpm as peer_ddpm
import pytest
import torch
from torch import nn

from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.guidance import GuidedDenoiser
from triptych.random import Stream, normal
from triptych.sampling import named_sampler
from triptych.sampling.sampler import sample

SHAPE = (2, 1, 3, 3)
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
PEER_NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


class SmoothEps(nn.Module):
    """An eps function of image and step that is neither zero nor linear."""

    classes = 0

    def forward(self, x, label, class_label=None, guidance=None):
        share = (label / 1000).reshape(-1, 1, 1, 1).to(x)
        return share.sqrt() * x + 0.1 * torch.sin(3 * x + share)


@cache
def noise(i):
    return normal(0, Stream.SAMPLER_NOISE, i, torch.arange(SHAPE[0]), SHAPE[1:]).double()


def ours(config, schedule, x):
    denoiser = Denoiser(SmoothEps(), SCHEDULES[schedule](), PREDICTIONS["eps"])
    guided = GuidedDenoiser(denoiser, None, 0.0, config.clip)
    return sample(config.build(), guided, config.levels(denoiser.schedule), x, noise)


def exact_betas(schedule):
    """The betas as the papers give them, in float64."""
    if schedule == "linear":
        return torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    f = [math.cos((k / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(1001)]
    return torch.tensor([min(1 - b / a, 0.999) for a, b in pairwise(f)], dtype=torch.float64)


def run_both(config, schedule, peer, peer_step, monkeypatch, module):
    """Yield our state and the peer's after every step, both begun from our state before it."""
    at = 0
    monkeypatch.setattr(module, "randn_tensor", lambda *a, **k: noise(at))
    peer.set_timesteps(config.steps)
    x = normal(1, Stream.INITIAL_NOISE, 0, torch.arange(SHAPE[0]), SHAPE[1:]).double()
    peer.betas = exact_betas(schedule)
    peer.alphas = 1 - peer.betas
    peer.alphas_cumprod = peer.alphas.cumprod(0)
    network = SmoothEps()
    levels = config.levels(SCHEDULES[schedule]())
    assert len(levels) == len(peer.timesteps) + 1
    for k, step in zip(peer.timesteps, ours(config, schedule, x), strict=True):
        at = step.i
        eps = network(x, k.float().expand(SHAPE[0]))
        theirs = peer_step(eps, k, x)
        yield step, theirs
        x = step.x


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize(("steps", "clip"), [(1000, False), (50, False), (50, True)])
def test_ddpm(schedule, variance, steps, clip, monkeypatch):
    peer = peer_ddpm.DDPMScheduler(
        1000,
        beta_schedule=PEER_NAMES[schedule],
        variance_type=f"fixed_{variance}",
        clip_sample=clip,
        timestep_spacing="leading",
    )
    config = named_sampler("ddpm", steps=steps, variance=variance, spacing="leading", clip=clip)

    def peer_step(eps, k, x):
        return peer.step(eps, k, x)

    seen = 0
    for step, theirs in run_both(config, schedule, peer, peer_step, monkeypatch, peer_ddpm):
        torch.testing.assert_close(step.x0, theirs.pred_original_sample, rtol=1e-9, atol=1e-7)
        torch.testing.assert_close(step.x, theirs.prev_sample, **TOLERANCE)
        seen += 1
    assert seen == steps


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("steps", "clip"), [(10, False), (50, False), (50, True), (1000, False)])
def test_ddim(schedule, eta, steps, clip, monkeypatch):
    peer = peer_ddim.DDIMScheduler(
        1000,
        beta_schedule=PEER_NAMES[schedule],
        clip_sample=clip,
        set_alpha_to_one=True,
        timestep_spacing="leading",
    )
    config = named_sampler("ddim", steps=steps, eta=eta, spacing="leading", clip=clip)

    def peer_step(eps, k, x):
        return peer.step(eps, k, x, eta=eta, use_clipped_model_output=True, variance_noise=noise_of(k))

    def noise_of(k):
        return noise(steps - 1 - int(k) // (1000 // steps))

    seen = 0
    for step, theirs in run_both(config, schedule, peer, peer_step, monkeypatch, peer_ddim):
        torch.testing.assert_close(step.x, theirs.prev_sample, **TOLERANCE)
        seen += 1
    assert seen == steps
