"""Which of two figures is the better one, and whether the measurement tells them apart. Imports no torch."""

from __future__ import annotations

import math
from typing import Literal

from triptych.record.events import Figure

Better = Literal["lower", "higher", "real", "unknown"]
"""Which of a metric's values is better; `real`: the nearer to that of real images."""

ERRORS_APART = 2
"""Two figures are told apart by so many standard errors of their difference."""


def loss(figure: Figure, better: Better) -> float | None:
    """Return a number that is lower for a better figure.

    None where nobody knows which way is better, where the figure is NaN, and where it should be near a real
    one that was not measured.
    """
    if math.isnan(figure.estimate):
        return None
    if better == "real":
        return None if figure.real is None else abs(figure.estimate - figure.real)
    return {"lower": figure.estimate, "higher": -figure.estimate}.get(better)


def told_apart(a: Figure, b: Figure, better: Better) -> bool:
    """Whether two figures of one metric differ by at least twice the standard error of their difference.

    The errors are taken as independent, which is on the safe side for rows of the same noise. Figures without
    a spread are told apart by any difference, and equal ones never are.
    """
    x, y = loss(a, better), loss(b, better)
    if x is None or y is None or x == y:
        return False
    return abs(x - y) >= ERRORS_APART * math.hypot(a.spread or 0.0, b.spread or 0.0)
