"""Noise levels, schedules, predictions and objectives: what diffusion is, without any network."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from triptych.diffusion.objectives import WEIGHTS, Objective, PredictionMSE
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.diffusion.times import TIMES
from triptych.errors import UserError


@dataclass(frozen=True)
class DiffusionConfig:
    """Which noise, what the network predicts of it, and what training minimises."""

    schedule: str = "linear"
    """Noise schedule: linear (DDPM's betas), linear-continuous (the same without steps), cosine, linear-zero
    and cosine-zero (ending without signal), flow (the straight path) or edm."""
    prediction: str = "eps"
    """What the network predicts: eps (the noise), x0 (the clean image), v, velocity (eps - x0) or edm."""
    objective: str = "mse"
    """What training minimises: mse, the error of the predicted quantity, or the same weighted by the level:
    min-snr, soft-min-snr, p2, edm, fdm."""
    times: str = "uniform"
    """Which levels training visits: uniform in time, logit-normal, or log-normal (EDM's; flow's skewed t)."""

    def __post_init__(self) -> None:
        """Raise `UserError` for names that are in no list."""
        for field, known in (
            ("schedule", SCHEDULES),
            ("prediction", PREDICTIONS),
            ("objective", WEIGHTS),
            ("times", TIMES),
        ):
            name = getattr(self, field)
            if name not in known:
                raise UserError(
                    f"diffusion.{field} {name}", "no such name", f"choose from {', '.join(known)}"
                )
        self._check_pair()

    def build_objective(self) -> Objective:
        """Return what training minimises."""
        return PredictionMSE(WEIGHTS[self.objective], TIMES[self.times])

    def _check_pair(self) -> None:
        """Raise `UserError` where no x_0 can be read from the prediction at some level of the schedule."""
        schedule = SCHEDULES[self.schedule]()
        levels = schedule.level(torch.arange(1, schedule.steps + 1, dtype=torch.float64) / schedule.steps)
        fitting = [name for name, found in PREDICTIONS.items() if found.defined(levels).all()]
        if self.prediction not in fitting:
            found = "no clean image can be read from it at every level of the schedule"
            if self.prediction == "eps":
                found = "the schedule ends without signal, where no clean image can be read from the noise"
            asked = f"diffusion.prediction {self.prediction} on the schedule {self.schedule}"
            raise UserError(asked, found, f"predict {', '.join(fitting)}")
