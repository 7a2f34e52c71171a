"""Count the operations that a step of training starts on a device, by the file that starts them.

    python scripts/count_operations.py
    python scripts/count_operations.py --dropout 0.1 --fused-draws

A GPU is asked for each of them by the host, which takes some microseconds: at a small batch they are what a
step takes. Counted without a GPU, on torch's meta device, which computes shapes alone; views and new memory
are none. Gradients are counted to the file that takes the step. The optimiser, one operation on a GPU, is
left out; the gradient's norm is found there in a few, too, two less for each tensor of weights.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "triptych"
sys.path[:0] = [
    str(ROOT),
    str(ROOT / "src"),
]  # the checkout's own packages, whether they are installed or not

from benchmarks.cases.loop_step import full_networks, program  # noqa: E402
from triptych.philox.fused import REFERENCE, Draws  # noqa: E402

NOWHERE = torch.device("meta")
PASSED = {
    f"aten::{name}" for name in ("view", "_unsafe_view", "detach", "empty", "empty_like", "empty_strided")
}
"""Operations that start nothing."""
IMAGES, SIZE = 16, 32
"""Of a step; how many there are changes no count."""
SHOWN = 6


class Counted(TorchDispatchMode):
    """Counts the operations on the device without numbers, by the file of the program that asks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.by_file: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        there = isinstance(result, Tensor | tuple | list) and NOWHERE in _devices(result)
        if there and not func.is_view and func._schema.name not in PASSED:
            self.by_file[_asking()] += 1
        return result


def _devices(result: Any) -> set[torch.device]:
    values = [result] if isinstance(result, Tensor) else result
    return {value.device for value in values if isinstance(value, Tensor)}


def _asking() -> str:
    """Return the file of the program that is nearest on the stack."""
    frame = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(SOURCE):
            return path.relative_to(SOURCE).as_posix()
        frame = frame.f_back
    return "elsewhere"


class OneEach:
    """Draws that cost an operation each, as by a kernel; what they give is of no interest."""

    @staticmethod
    def words(seed: int, stream: int, step: int, index: Tensor, count: int) -> Tensor:
        """Return int64 [B, count]."""
        return torch.ones(len(index), count, dtype=torch.int64, device=index.device)

    @staticmethod
    def below(threshold: int, seed: int, stream: int, step: int, index: Tensor, count: int) -> Tensor:
        """Return bool [B, count]."""
        return torch.ones(len(index), count, dtype=torch.bool, device=index.device)


def counted(config: Any, size: int = SIZE, *, fused_draws: bool = False) -> Counter[str]:
    """Return how many operations a step starts, by file.

    Args:
        config: of the backbone.
        size: height and width of the images, in pixels.
        fused_draws: whether random numbers are drawn by a kernel.
    """
    takes, _ = program(config, IMAGES, size, device=NOWHERE, layout="nchw")
    kernels: Draws = OneEach()

    def drawn_by(device: torch.device) -> Draws:
        return kernels if fused_draws and device == NOWHERE else REFERENCE

    no_step = patch.object(takes.state.optimizer, "step", lambda: None)
    with no_step, patch("triptych.random.drawn_by", drawn_by):
        takes.take()  # the first one makes what lasts
        with Counted() as mode:
            takes.take()
    return mode.by_file


def main(words: Sequence[str] | None = None) -> int:
    """Print the counts of each backbone, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dropout", type=float, default=0.0, help="of the UNet (default 0)")
    parser.add_argument(
        "--fused-draws", action="store_true", help="random numbers by a kernel, one for each draw"
    )
    options = parser.parse_args(words)
    for name, config in full_networks().items():
        if hasattr(config, "dropout"):
            config = replace(config, dropout=options.dropout)
        found = counted(config, fused_draws=options.fused_draws)
        most = ", ".join(f"{file} {count:,}" for file, count in found.most_common(SHOWN))
        print(f"{name}: {found.total():,} operations ({most})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
