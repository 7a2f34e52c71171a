"""What `triptych evaluate` measures where its options do not say otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from triptych.errors import UserError
from triptych.sampling import named_sampler


@dataclass(frozen=True)
class EvaluationConfig:
    """Which rows an evaluation has: one for every combination."""

    checkpoint: tuple[str, ...] = ("last",)
    """Checkpoints: last, best-mse, epoch-350 or 350."""
    guidance: tuple[float, ...] = ()
    """Guidance scales; none given: that of `sampling`."""
    sampler: tuple[str, ...] = ()
    """Samplers; none given: the first of `sampling`."""
    count: int | None = None
    """Images of each row; None: as many as the held-out split has, in equal classes."""

    def __post_init__(self) -> None:
        """Raise `UserError` for values out of range."""
        for sampler in self.sampler:
            named_sampler(sampler)
        if not self.checkpoint or not all(0 <= scale < math.inf for scale in self.guidance):
            raise UserError(
                "evaluation.checkpoint and guidance",
                f"{list(self.checkpoint)} and {list(self.guidance)}",
                "name at least one checkpoint, and scales of at least 0",
            )
        if self.count is not None and self.count < 1:
            raise UserError("evaluation.count", f"{self.count} is out of range", "choose at least 1")
