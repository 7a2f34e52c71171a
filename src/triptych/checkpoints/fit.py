"""Does a checkpoint fit what is to be restored from it? Asked before anything of it is taken over."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.manifest import PART_NAME, WEIGHTS
from triptych.checkpoints.names import parse

HISTORIES = ("best", "held_out")
"""Fields of a state that list checkpoints with their held-out errors."""
LARGEST = 2**53
"""No honest counter is larger."""
LAYOUTS = ("nchw", "nhwc")
"""Of images in memory, that a network can be trained with."""
MOST_THREADS = 4096
"""No processor has more; torch crashes where it is told to start a hundred thousand."""


def misfit(found: Contents, fresh: Contents) -> str | None:
    """Return in words why a checkpoint cannot be restored into a state that now holds `fresh`; None: it can.

    A sha256 only says that nobody changed a file after its manifest was made. Here names, types and shapes of
    all tensors are compared, and the types of all fields. What only one of both has is no fault: versions of
    the program differ in that.
    """
    for part, tensors in found.tensors.items():
        expected = fresh.tensors.get(part)
        if expected is not None:
            wrong = (
                _tensors_misfit(tensors, expected) if expected else _entries_misfit(tensors, fresh.tensors)
            )
            if wrong:
                return f"its tensors are of another network ({part}: {wrong})"
    wrong = _plain_misfit(found.state, fresh.state, "state") or _history_misfit(found.state)
    if wrong is None and not 1 <= found.state.get("threads", 1) <= MOST_THREADS:
        wrong = "state.threads is no number of threads"
    if wrong is None and found.state.get("layout", LAYOUTS[0]) not in LAYOUTS:
        wrong = "state.layout is no layout"
    return wrong and f"its state is malformed ({wrong})"


def _tensors_misfit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    for name in sorted(tensors.keys() | expected.keys()):
        if name not in expected:
            return f"{name} is not part of it"
        if name not in tensors:
            return f"{name} is missing"
        if (wrong := _form(tensors[name])) != (right := _form(expected[name])):
            return f"{name} is {wrong}, not {right}"
    return None


def _entries_misfit(tensors: Mapping[str, Tensor], parts: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """Look at a part that is empty before the first step: of each weight, entries like it and counters."""
    for key, tensor in tensors.items():
        weight = parts.get(WEIGHTS, {}).get(key.rpartition("/")[0])
        if weight is None:
            return f"{key} belongs to none of its weights"
        if not tensor.is_floating_point() or tensor.shape not in (weight.shape, ()):
            return f"{key} is {_form(tensor)}, not {_form(weight)}"
    return None


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _plain_misfit(value: Any, like: Any, where: str) -> str | None:
    """Return where a value of JSON is not of the type of the one that it is to replace."""
    if isinstance(like, dict):
        if not isinstance(value, dict):
            return f"{where} is no object"
        named = [(f"{where}.{name}", value[name], like[name]) for name in like if name in value]
        return next((wrong for place, *both in named if (wrong := _plain_misfit(*both, place))), None)
    if isinstance(like, list):
        if not isinstance(value, list):
            return f"{where} is no list"
        items = enumerate(value) if like else ()
        return next(
            (wrong for i, item in items if (wrong := _plain_misfit(item, like[0], f"{where}[{i}]"))), None
        )
    if like is None:
        return None
    if isinstance(like, bool):
        return None if isinstance(value, bool) else f"{where} is neither true nor false"
    if isinstance(like, int):
        return None if type(value) is int and 0 <= value <= LARGEST else f"{where} is no counter"
    if isinstance(like, float):
        return None if type(value) in (int, float) and math.isfinite(value) else f"{where} is no number"
    return None if isinstance(value, str) else f"{where} is no text"


def _history_misfit(state: Mapping[str, Any]) -> str | None:
    for history in HISTORIES:
        entries = state.get(history, [])
        if not isinstance(entries, list):
            return f"state.{history} is no list"
        for index, entry in enumerate(entries):
            if not _is_measured(entry):
                return f"state.{history}[{index}] is no measured checkpoint"
    return None


def _is_measured(entry: Any) -> bool:
    """Tell whether an entry names a checkpoint, its error and, in newer ones, the part that has it."""
    if not isinstance(entry, dict) or type(entry.get("mse")) not in (int, float):
        return False
    name, part = entry.get("checkpoint"), entry.get("weights", WEIGHTS)
    named = isinstance(name, str) and parse(name) is not None
    return named and isinstance(part, str) and PART_NAME.fullmatch(part) is not None
