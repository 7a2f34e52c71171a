"""Names of checkpoint folders: `epoch-00350`, or `epoch-00350-step-00137123` for a stop inside an epoch."""

import re
from typing import NamedTuple

PATTERN = re.compile(r"epoch-([0-9]{1,18})(?:-step-([0-9]{1,18}))?")


class Position(NamedTuple):
    """Where in training a checkpoint was taken."""

    epoch: int
    """Whole epochs done."""
    step: int | None
    """Optimiser steps done, for a stop inside the epoch after `epoch`; None at the end of an epoch."""

    @property
    def order(self) -> tuple[int, int]:
        """Sorting key: the end of an epoch comes before the stops inside the next."""
        return self.epoch, -1 if self.step is None else self.step


def name_of(epoch: int, step: int | None = None) -> str:
    """Return the folder name of the checkpoint after `epoch` whole epochs, and `step` steps if in between."""
    if epoch < 0 or (step is not None and step < 0):
        raise ValueError(f"no checkpoint can be taken at epoch {epoch}, step {step}")
    return f"epoch-{epoch:05d}" + ("" if step is None else f"-step-{step:08d}")


def parse(name: str) -> Position | None:
    """Return the position that a folder name of any digit width speaks of, None if it is no such name."""
    match = PATTERN.fullmatch(name)
    if match is None:
        return None
    epoch, step = match.groups()
    return Position(int(epoch), None if step is None else int(step))
