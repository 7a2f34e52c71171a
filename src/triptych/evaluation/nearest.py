"""Generated images beside the training images nearest to them: what a figure of memorisation is of."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from PIL import Image
from torch import Tensor

from triptych.denoiser import Denoiser
from triptych.evaluation.drawing import SEPARATOR
from triptych.evaluation.yardstick import Yardstick
from triptych.generation import Request, generate
from triptych.metrics.nearest import nearest
from triptych.record.pictures import grid

SHOWN = 10
"""Generated images: those that lie nearest to a training image."""
NEIGHBOURS = 3
"""Training images below each."""


def nearest_picture(
    denoiser: Denoiser, request: Request, yardstick: Yardstick, rows: Mapping[str, Tensor]
) -> Image.Image | None:
    """Return the generated images nearest to training images, each above those; None: nobody asked for that.

    A model that memorises shows the same image twice in a column. The images are drawn again for it, from
    their own noise.

    Args:
        denoiser: the model.
        request: its images.
        yardstick: what they were measured by.
        rows: their features, float32 [N, D], by the names that the yardstick keeps.
    """
    asked = ((side, m) for side in yardstick.sides for m in side.metrics.values() if m.memorisation)
    side, metric = next(asked, (None, None))
    if side is None or metric is None:
        return None
    target = yardstick.target_features(side)
    mine = rows[f"{side.extractor}{SEPARATOR}{metric.feature}"]
    found = nearest(mine, target.rows(metric.feature), min(NEIGHBOURS, len(target)))
    chosen = found.distance[:, 0].argsort(stable=True)[:SHOWN]
    drawn = torch.cat([batch.pixels.cpu() for batch in generate(denoiser, request, share=chosen.tolist())])
    below = found.index[chosen].mT.flatten()
    images = side.target.images
    pictures = torch.cat([drawn, images[below.to(images.device)].cpu()])
    labels = ["generated", "nearest", *(f"{place}." for place in range(2, 1 + NEIGHBOURS))]
    return grid(
        pictures,
        len(chosen),
        row_labels=labels[: 1 + found.index.shape[1]],
        column_labels=[f"{distance:.3g}" for distance in found.distance[chosen, 0].tolist()],
        caption=f"the {len(chosen)} closest of {request.count:,} to {side.target.name}, by {side.extractor}",
    )
