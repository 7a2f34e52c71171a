"""What a checkpoint holds, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Contents:
    """The tensors and the state of one checkpoint."""

    tensors: dict[str, dict[str, Tensor]]
    """Part -> name -> tensor. Each part is one file: `ema`, `weights`, `optimizer`, ..."""
    state: dict[str, Any]
    """Everything else that a resume needs, as JSON: step, epoch, best-so-far history, elapsed times."""

    def copied(self) -> Contents:
        """Return it with copies of the tensors in the host's memory, which training does not change."""
        copies = {
            part: {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in named.items()}
            for part, named in self.tensors.items()
        }
        return Contents(copies, self.state)
