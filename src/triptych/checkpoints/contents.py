"""What a checkpoint holds, in memory."""

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
