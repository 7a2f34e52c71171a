"""Networks that others trained and published: where their weights come from, and which images they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from triptych.downloads import PublishedFile, fetch
from triptych.errors import UserError

COLOURS = 3


def published_weights(
    file: PublishedFile, shapes: Mapping[str, Sequence[int]], otherwise: str
) -> dict[str, Tensor]:
    """Return the tensors of a published torch file that a network asks for, float32 on the CPU.

    The file is fetched once and checked whenever it is read. It goes through torch's reader of weights, which
    makes nothing but tensors. What the network does not ask for, such as the head of a classifier, is left.

    Args:
        file: a dictionary of tensors, as `torch.save` wrote it.
        shapes: the names and shapes that the network has.
        otherwise: what else the user can do where there is no network, for messages.

    Raises:
        UserError: it cannot be fetched, is not what was published, or lacks a tensor of that name and shape.
    """
    path = fetch(file, otherwise)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    found = {name: tuple(weights[name].shape) for name in shapes if name in weights}
    unlike = [name for name, shape in shapes.items() if found.get(name) != tuple(shape)]
    if unlike:
        first = unlike[0]
        here = f"{len(unlike)} of {len(shapes)} tensors do not fit, {first} has shape {found.get(first)}"
        raise UserError(str(path), f"{here} for {tuple(shapes[first])}", "delete it, and it is fetched anew")
    return {name: weights[name].float() for name in shapes}


def check_images(name: str, shape: Sequence[int], least: int = 1) -> None:
    """Raise `UserError` where images are not what a published network takes.

    Grey images are refused rather than repeated to three channels: what these networks make of them was never
    set against human judgement, and the figures would look like those that were.

    Args:
        name: of the extractor, for messages.
        shape: of one image, (C, H, W).
        least: the smallest side in pixels that the network can take.
    """
    channels, height, width = shape
    if channels != COLOURS:
        found = f"they have {channels} channel" + ("" if channels == 1 else "s")
        remedy = f"it takes colour images, of {COLOURS} channels: leave it out for these"
        raise UserError(f"measure images with {name}", found, remedy)
    if min(height, width) < least:
        remedy = f"its network takes images of at least {least} pixels a side: leave it out for these"
        raise UserError(f"measure images with {name}", f"they have {height}x{width} pixels", remedy)
