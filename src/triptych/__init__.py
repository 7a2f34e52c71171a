"""Train, sample, evaluate and compare small-image diffusion models.

    import triptych

    run = triptych.load("runs/digits-unet")
    model = run.model("best-mse")
    request = run.request(model, count=20, guidance=1.5, sampler="ddim:50", seed=0)
    pixels, classes = run.sample(model, request)  # uint8 [20, 1, 8, 8], int64 [20]
    row = run.evaluate(model, run.request(model, count=340))
    for figure in row.figures:
        print(figure.metric, figure.estimate, figure.spread, figure.real)

Training is a command: `triptych train digits-unet`. Importing this package does not import torch;
`load` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triptych.runs import Run

__all__ = ["load"]


def load(folder: Path | str, data_path: str = "") -> Run:
    """Open the folder of a run that `triptych train` or `triptych import` made.

    Args:
        folder: path of the run.
        data_path: where its images lie now; empty: where its configuration says. Only `evaluate` reads them.

    Raises:
        triptych.errors.UserError: it is no run.
    """
    from triptych.runs import Run

    return Run(folder, data_path)
