"""A device that holds no numbers in the place of a GPU: nothing can be read of it, or mixed with it.

torch's meta device computes shapes and types alone. A GPU's mistakes show there, without a GPU: a number that
the host reads, for which it would wait, and a tensor of the host among those of the device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

NOWHERE = torch.device("meta")
MOVES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}
"""Operations that bring tensors from one device to another."""


class OneDevice(TorchDispatchMode):
    """Inside, every operation's tensors have to be on one device, as a GPU demands it.

    Single numbers of the host may stand beside them: they travel with the operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        """Operations on the device without numbers."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [x for x in pytree.tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        self.seen += any(x.device == NOWHERE for x in given)
        devices = {x.device.type for x in given if x.ndim > 0}
        assert len(devices) <= 1 or func in MOVES, f"{func} of tensors on {' and '.join(sorted(devices))}"
        return func(*args, **(kwargs or {}))
