"""Every backbone with every diffusion, sampler, grid and scale, as the dictionaries of parts have them."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from backbones.small import SHALLOW, awake

from triptych.data.batches import Batch
from triptych.denoiser import Denoiser
from triptych.diffusion import DiffusionConfig
from triptych.diffusion.objectives import WEIGHTS
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.diffusion.times import TIMES
from triptych.errors import UserError
from triptych.generation import Request, generate, steps_of
from triptych.guidance import GUIDES, named_guide
from triptych.sampling import SAMPLERS, named_sampler
from triptych.sampling.grids import GRIDS
from triptych.training.loss import StepLoss


def possible(schedule, prediction):
    try:
        return DiffusionConfig(schedule, prediction)
    except UserError:
        return None


DIFFUSIONS = [config for pair in product(SCHEDULES, PREDICTIONS) if (config := possible(*pair))]
STEPS = 2


def further_calls(name, schedule):
    """Beyond the first of each step: none in the last, nor in one from pure noise."""
    from_noise = float(SCHEDULES[schedule]().level(torch.ones((), dtype=torch.float64)).alpha) == 0
    return (STEPS - 1 - from_noise) * (SAMPLERS[name].calls_per_step - 1)


def model(kind, config, classes=3, seed=0):
    torch.manual_seed(seed)
    network = awake(SHALLOW[kind].build(1, 8, classes))
    return Denoiser(network, SCHEDULES[config.schedule](), PREDICTIONS[config.prediction])


@pytest.mark.parametrize("kind", SHALLOW)
@pytest.mark.parametrize("config", DIFFUSIONS, ids=lambda config: f"{config.schedule}-{config.prediction}")
def test_every_sampler_draws_from_every_model(kind, config):
    denoiser = model(kind, config)
    for name, (scale, calls) in product(SAMPLERS, {0.0: 1, 2.5: 2}.items()):
        (drawn,) = generate(denoiser, Request(2, scale, named_sampler(f"{name}:{STEPS}")))
        assert drawn.pixels.shape == (2, 1, 8, 8)
        assert drawn.pixels.float().std() > 0
        assert drawn.calls == calls * (STEPS + further_calls(name, config.schedule)), name


WAYS = [
    f"{name},{options}"
    for name in GUIDES
    for options in ("above=0.1,below=50,shape=linear,rescale=0.5", "shape=cosine,against=epoch-1")
]
"""Every way to guide with every option that it has; as it is, it has been in what is above."""


def walked(denoiser, request):
    """Return the images at the end of a walk, not clipped, and the calls that one took."""
    guided, steps, _ = steps_of(denoiser, request, torch.arange(1))
    return [step.x for step in steps][-1], guided.calls


@pytest.mark.parametrize("config", DIFFUSIONS, ids=lambda config: f"{config.schedule}-{config.prediction}")
def test_every_guide_leads_every_diffusion_by_every_sampler(config):
    """Guides know a denoiser and nothing of its network: one kind speaks for all."""
    denoiser, weak = model("dit", config), model("dit", config, seed=1)
    for name in SAMPLERS:
        asked = Request(1, 1.0, named_sampler(f"{name}:{STEPS}", clip=False))
        plain, plain_calls = walked(denoiser, asked)
        for spec in WAYS:
            guide = named_guide(spec)
            led, calls = walked(
                denoiser, replace(asked, guidance=2.5, guide=guide, weak=weak if guide.against else None)
            )
            assert plain_calls < calls <= 2 * plain_calls, (name, spec)
            assert led.isfinite().all(), (name, spec)
            assert not torch.equal(plain, led), (name, spec)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("spacing", GRIDS)
def test_every_grid_lies_on_every_schedule(schedule, spacing):
    denoiser = model("unet", DiffusionConfig(schedule, "x0"), classes=0)
    for name in SAMPLERS:
        (drawn,) = generate(denoiser, Request(2, 0.0, named_sampler(name, steps=4, spacing=spacing)))
        assert drawn.pixels.float().std() > 0


@pytest.mark.parametrize("kind", SHALLOW)
@pytest.mark.parametrize("config", DIFFUSIONS, ids=lambda config: f"{config.schedule}-{config.prediction}")
def test_every_objective_trains_every_model(kind, config):
    denoiser = model(kind, config).train()
    x0, places = torch.rand(5, 1, 8, 8) * 2 - 1, range(5)
    batch = Batch(x0, torch.arange(5) % 3, torch.arange(5), places)
    for objective, times in product(WEIGHTS, TIMES):
        chosen = DiffusionConfig(config.schedule, config.prediction, objective, times)
        losses = StepLoss(denoiser, chosen.build_objective(), 0, 0.1)(batch, 0, 0, 0.1)
        assert losses.shape == (5,)
        assert losses.isfinite().all(), (objective, times)
        denoiser.zero_grad()
        losses.mean().backward()
        norms = [parameter.grad.norm() for parameter in denoiser.parameters() if parameter.grad is not None]
        assert 0 < float(torch.stack(norms).norm()) < float("inf"), (objective, times)
