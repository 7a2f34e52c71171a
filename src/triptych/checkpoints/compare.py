"""Are two checkpoints the same? Asked of whatever they hold, so that no new part or field is forgotten."""

import json
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from triptych.checkpoints.contents import Contents


def difference(
    left: Contents, right: Contents, ignored: Collection[str] = (), *, grown: bool = False
) -> str | None:
    """Return in words where two checkpoints first differ; None: they hold the same bits.

    Parts, names, types, shapes, every bit of every tensor and every field of the state count, but for the
    fields of the state in `ignored`. Where `right` may have `grown`, parts and fields that it alone has are
    no difference: a newer version of the program knows them.
    """
    if uneven := _uneven(left.tensors, right.tensors, grown):
        return f"only one has the part {uneven}"
    for part, tensors in left.tensors.items():
        others = right.tensors[part]
        if uneven := _uneven(tensors, others):
            return f"{part}: only one has {uneven}"
        for name, tensor in tensors.items():
            if found := _tensor_difference(tensor, others[name]):
                return f"{part}: {name} {found}"
    return _plain_difference(_without(left.state, ignored), _without(right.state, ignored), "state", grown)


def distance(left: Contents, right: Contents, ignored: Collection[str] = ()) -> float:
    """Return how far two checkpoints of the same form are apart; infinity where their forms differ.

    Tensors are compared by part and, within one, by the entry after the name's last `/` (an optimiser's
    averages and counters, say): the norm of the difference over the norm. Within one the sizes are alike; a
    single tensor may hold nothing but rounding, as an offset does that a normalisation takes away again.
    Fields of the state have to be equal where they are no fractions.
    """
    apart: dict[tuple[str, str], float] = {}
    size: dict[tuple[str, str], float] = {}
    if _uneven(left.tensors, right.tensors):
        return float("inf")
    for part, tensors in left.tensors.items():
        if _uneven(tensors, right.tensors[part]):
            return float("inf")
        for name, tensor in tensors.items():
            other = right.tensors[part][name]
            if (tensor.dtype, tensor.shape) != (other.dtype, other.shape):
                return float("inf")
            group = part, name.rpartition("/")[2] if "/" in name else ""
            a, b = tensor.detach().double().cpu(), other.detach().double().cpu()
            apart[group] = apart.get(group, 0.0) + float((a - b).square().sum())
            size[group] = size.get(group, 0.0) + float(b.square().sum())
    found = [(apart[group] / (size[group] or 1.0)) ** 0.5 for group in apart]
    found.append(_plain_distance(_without(left.state, ignored), _without(right.state, ignored)))
    return max(value if value == value else float("inf") for value in found)


def _without(state: dict[str, Any], ignored: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in ignored}


def _uneven(left: Collection[str], right: Collection[str], grown: bool = False) -> str | None:
    """Return the first name that one lacks; if `right` has grown, the first that it lacks."""
    return min(set(left) - set(right) if grown else set(left) ^ set(right), default=None)


def _tensor_difference(left: Tensor, right: Tensor) -> str | None:
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return f"is {left.dtype} {list(left.shape)} and {right.dtype} {list(right.shape)}"
    apart = int((_bits(left) != _bits(right)).any(dim=1).sum()) if left.numel() else 0
    return f"differs in {apart:,} of {left.numel():,} values" if apart else None


def _bits(tensor: Tensor) -> Tensor:
    """Return the bytes of each value: NaN equals itself there, and -0 differs from 0."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).reshape(len(flat), -1)


def _plain_difference(left: Any, right: Any, where: str, grown: bool) -> str | None:
    """Return in words the innermost place at which two values of JSON differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        if uneven := _uneven(left, right, grown):
            return f"only one has {where}.{uneven}"
        pairs = [(f"{where}.{name}", left[name], right[name]) for name in left]
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = [(f"{where}[{i}]", *both) for i, both in enumerate(zip(left, right, strict=True))]
    else:  # as text, 1 is not 1.0, and a fraction has all its bits
        a, b = json.dumps(left), json.dumps(right)
        return None if a == b else f"{where} is {_short(a)} and {_short(b)}"
    return next((found for place, *both in pairs if (found := _plain_difference(*both, place, grown))), None)


def _plain_distance(left: Any, right: Any) -> float:
    """Return the largest distance of two fractions in one place; infinity where anything else differs."""
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        return max((_plain_distance(left[name], right[name]) for name in left), default=0.0)
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        return max((_plain_distance(*both) for both in zip(left, right, strict=True)), default=0.0)
    if isinstance(left, float) and isinstance(right, float):
        return abs(left - right) / (abs(right) or 1.0)
    return 0.0 if type(left) is type(right) and left == right else float("inf")


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
