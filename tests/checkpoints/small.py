"""Checkpoints of a few bytes, and what it means for two to be the same."""

import torch

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.names import name_of


def make(
    epoch: int, history: tuple[tuple[int, float], ...] = (), parts: str = "ema weights optimizer"
) -> Contents:
    """Contents that differ from epoch to epoch; `history` holds (epoch, held-out MSE)."""
    tensors = {
        part: {"w": torch.full((2, 3), epoch + index / 8), "step": torch.tensor(epoch)}
        for index, part in enumerate(parts.split())
    }
    best = [{"epoch": e, "checkpoint": name_of(e), "mse": mse} for e, mse in history]
    return Contents(tensors, {"epoch": epoch, "elapsed": epoch / 3, "best": best})


def same(left: Contents, right: Contents) -> bool:
    """Bitwise equality of everything, types included."""
    if left.state != right.state or left.tensors.keys() != right.tensors.keys():
        return False
    for part, tensors in left.tensors.items():
        others = right.tensors[part]
        if tensors.keys() != others.keys():
            return False
        for name, tensor in tensors.items():
            other = others[name]
            if tensor.dtype != other.dtype or tensor.shape != other.shape:
                return False
            if tensor.numel() and not torch.equal(as_bytes(tensor), as_bytes(other)):
                return False
    return True


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's memory: NaN equals itself there, and -0 differs from 0."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
