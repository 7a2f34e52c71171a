"""Schedule and prediction as the `scheduler_config.json` of diffusers tells them, and back.

Of a scheduler, what belongs to the trained model is read: which noise level each step has, and what the
network predicts. How it walks down the steps is the choice of whoever samples, here by `--sampler`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triptych.diffusion import DiffusionConfig
from triptych.errors import UserError

CLASSES = ("DDPMScheduler", "DDIMScheduler")
"""The schedulers that are read; their options mean the same, and have the same defaults."""

SCHEDULE_NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
"""Our schedules, and what they are called there."""

PREDICTION_NAMES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
"""Our predictions, and what they are called there."""

REPRESENTABLE: dict[str, Any] = {
    "clip_sample_range": 1.0,
    "num_train_timesteps": 1000,
    "predict_epsilon": True,
    "rescale_betas_zero_snr": False,
    "thresholding": False,
    "trained_betas": None,
}
"""The one value that an option must have; it is also what the option means that a file leaves out."""

LINEAR = {"beta_start": 1e-4, "beta_end": 0.02}
"""The same, for the options of the linear schedule."""

SAMPLING = frozenset(
    {
        "clip_sample",
        "dynamic_thresholding_ratio",
        "sample_max_value",
        "set_alpha_to_one",
        "steps_offset",
        "tensor_format",
        "timestep_spacing",
        "variance_type",
    }
)
"""Options of sampling, which are passed over."""

LEARNED = ("learned", "learned_range")
"""Variances that the network predicts, which is no matter of sampling alone."""


def from_scheduler(options: Mapping[str, Any]) -> DiffusionConfig:
    """Return our schedule and prediction, given the content of a `scheduler_config.json`.

    Raises:
        UserError: an option is unknown, or says what cannot be represented here.
    """
    name = options.get("_class_name")
    if name not in CLASSES:
        raise _refusal("_class_name", name, " or ".join(CLASSES))
    betas = options.get("beta_schedule", "linear")
    schedules = {theirs: ours for ours, theirs in SCHEDULE_NAMES.items()}
    if betas not in list(schedules):  # of a list, unlike a dict, even what cannot be hashed can be asked
        raise _refusal("beta_schedule", betas, " or ".join(schedules))
    fixed = REPRESENTABLE | (LINEAR if betas == "linear" else {})
    for option, value in options.items():
        if option in fixed and value != fixed[option]:
            raise _refusal(option, value, repr(fixed[option]))
        known = option in fixed | LINEAR or option in SAMPLING or option.startswith("_")
        if not known and option not in ("beta_schedule", "prediction_type") and value not in (None, False):
            raise _refusal(f"the option {repr(option)[:60]}", value, "no option of that name")
    if options.get("variance_type") in LEARNED:
        raise _refusal("variance_type", options["variance_type"], "a fixed variance")
    predicted = options.get("prediction_type", "epsilon")
    predictions = {theirs: ours for ours, theirs in PREDICTION_NAMES.items()}
    if predicted not in list(predictions):
        raise _refusal("prediction_type", predicted, ", ".join(predictions))
    return DiffusionConfig(schedule=schedules[betas], prediction=predictions[predicted])


def to_scheduler(diffusion: DiffusionConfig) -> dict[str, Any]:
    """Return the content of the `scheduler_config.json` of a `DDPMScheduler` with our schedule.

    Its steps are spaced as ours are by default, so that any number of them gives the images of `ddpm`.

    Raises:
        UserError: diffusers has no such schedule or prediction.
    """
    for field, value, names in (
        ("schedule", diffusion.schedule, SCHEDULE_NAMES),
        ("prediction", diffusion.prediction, PREDICTION_NAMES),
    ):
        if value not in names:
            asked = f"export a model with diffusion.{field} {value}"
            raise UserError(asked, "DDPMScheduler has none such", f"export one with {' or '.join(names)}")
    return LINEAR | {
        "_class_name": "DDPMScheduler",
        "beta_schedule": SCHEDULE_NAMES[diffusion.schedule],
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "dynamic_thresholding_ratio": 0.995,
        "num_train_timesteps": 1000,
        "prediction_type": PREDICTION_NAMES[diffusion.prediction],
        "rescale_betas_zero_snr": False,
        "sample_max_value": 1.0,
        "steps_offset": 0,
        "thresholding": False,
        "timestep_spacing": "trailing",
        "trained_betas": None,
        "variance_type": "fixed_small",
    }


def _refusal(option: str, value: object, represented: str) -> UserError:
    return UserError(
        f"import a scheduler with {option} {repr(value)[:60]}",
        f"what can be represented here is {represented}",
        "import another model, or use it with diffusers",
    )
