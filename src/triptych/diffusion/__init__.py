"""Noise levels, schedules, predictions and objectives: what diffusion is, without any network."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.diffusion.objectives import OBJECTIVES
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.errors import UserError


@dataclass(frozen=True)
class DiffusionConfig:
    """Which noise, what the network predicts of it, and what training minimises."""

    schedule: str = "linear"
    """Noise schedule: linear (DDPM's betas) or cosine."""
    prediction: str = "eps"
    """What the network predicts: eps (the noise), x0 (the clean image) or v."""
    objective: str = "mse"
    """What training minimises: mse, the error of the predicted quantity."""

    def __post_init__(self) -> None:
        """Raise `UserError` for names that are in no list."""
        for field, known in (
            ("schedule", SCHEDULES),
            ("prediction", PREDICTIONS),
            ("objective", OBJECTIVES),
        ):
            name = getattr(self, field)
            if name not in known:
                raise UserError(
                    f"diffusion.{field} {name}", "no such name", f"choose from {', '.join(known)}"
                )
