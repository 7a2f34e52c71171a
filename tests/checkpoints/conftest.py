"""Checkpoints of a few bytes on the disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints.small import make

from triptych.checkpoints.names import name_of
from triptych.checkpoints.write import write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run's folder of checkpoints, not made yet."""
    return tmp_path / "run" / "checkpoints"


@pytest.fixture
def trained(root: Path) -> Callable[..., Path]:
    """Writes checkpoints of the given epochs; the held-out MSE falls until `best`, then rises."""

    def train(*epochs: int, best: int = 1000) -> Path:
        history: tuple[tuple[int, float], ...] = ()
        for epoch in epochs:
            history += ((epoch, 1.0 + abs(epoch - best)),)
            write(root, name_of(epoch), make(epoch, history))
        return root

    return train


@pytest.fixture
def folder(root: Path) -> Path:
    """One small checkpoint."""
    return write(root, name_of(7), make(7))
