"""Schedules and predictions in the words of diffusers, which mean the same noise levels there."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from triptych.diffusion import DiffusionConfig
from triptych.diffusion.diffusers_scheduler import (
    PREDICTION_NAMES,
    SCHEDULE_NAMES,
    from_scheduler,
    to_scheduler,
)
from triptych.diffusion.schedules import SCHEDULES
from triptych.errors import UserError

DDPM = {"_class_name": "DDPMScheduler"}


@pytest.mark.parametrize("schedule", SCHEDULE_NAMES)
def test_the_peer_has_our_noise_levels(schedule):
    """At each of its 1,000 steps, to the float32 that it computes its own in."""
    peer = DDPMScheduler.from_config(to_scheduler(DiffusionConfig(schedule=schedule)))
    k = torch.arange(1000, dtype=torch.float64)
    level = SCHEDULES[schedule]().level((k + 1) / 1000)
    torch.testing.assert_close(peer.alphas_cumprod.double(), level.alpha**2, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("prediction", PREDICTION_NAMES)
@pytest.mark.parametrize("schedule", SCHEDULE_NAMES)
def test_there_and_back(schedule, prediction):
    config = DiffusionConfig(schedule=schedule, prediction=prediction)
    assert from_scheduler(to_scheduler(config)) == config


def test_we_write_every_option_of_the_peer():
    options = {name for name in DDPMScheduler().config if not name.startswith("_")}
    assert to_scheduler(DiffusionConfig()).keys() == options | {"_class_name"}


@pytest.mark.parametrize("kind", [DDPMScheduler, DDIMScheduler])
def test_the_peer_s_defaults_are_ours(kind):
    assert from_scheduler(dict(kind().config) | {"_class_name": kind.__name__}) == DiffusionConfig()
    assert from_scheduler({"_class_name": kind.__name__}) == DiffusionConfig()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("_class_name", "ScoreSdeVeScheduler"),
        ("_class_name", None),
        ("beta_schedule", "scaled_linear"),
        ("beta_schedule", ["linear"]),
        ("beta_start", 1e-3),
        ("beta_end", 0.012),
        ("clip_sample_range", 2.0),
        ("num_train_timesteps", 4000),
        ("predict_epsilon", False),
        ("prediction_type", "flow_prediction"),
        ("prediction_type", {}),
        ("rescale_betas_zero_snr", True),
        ("thresholding", True),
        ("trained_betas", [0.1, 0.2]),
        ("variance_type", "learned_range"),
        ("use_karras_sigmas", True),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(option, value):
    with pytest.raises(UserError, match=f"scheduler with .*{option}") as refused:
        from_scheduler(DDPM | {option: value})
    assert "\n" not in str(refused.value)


def test_options_of_sampling_are_passed_over():
    walk = {
        "variance_type": "fixed_large",
        "timestep_spacing": "linspace",
        "steps_offset": 1,
        "beta_end": 0.02,
    }
    assert from_scheduler(DDPM | walk | {"clip_sample": False}) == DiffusionConfig()
    cosine = DDPM | {"beta_schedule": "squaredcos_cap_v2", "beta_end": 0.5}  # which it does not use
    assert from_scheduler(cosine).schedule == "cosine"
