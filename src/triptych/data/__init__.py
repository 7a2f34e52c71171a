"""Where images come from: every data set is one file and one line in `DATASETS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from triptych.data import digits
from triptych.data.dataset import Dataset
from triptych.data.formats import recognise
from triptych.errors import UserError

DATASETS: dict[str, Callable[[DataConfig], Dataset]] = {"digits": lambda config: digits.load()}
"""Every data set by the name that recipes use, loaded as the configuration says."""


@dataclass(frozen=True)
class DataConfig:
    """Which images."""

    name: str = "digits"
    """Name of the data set."""
    path: str = ""
    """Archive, parquet file or folder of images, recognised by what is in it; empty: the set's own place."""
    image_size: int = 32
    """Side in pixels that images of free size are brought to."""
    flip: bool = False
    """Whether training images are mirrored left to right with probability one half."""

    def load(self) -> Dataset:
        """Return the data set, decoded.

        Raises:
            UserError: there is no data set of this name, or its files cannot be read.
        """
        if self.path:
            return recognise(Path(self.path).expanduser(), self.image_size).decode()
        if self.name not in DATASETS:
            raise UserError(
                f"data.name {self.name}", "no such data set", f"choose from {', '.join(DATASETS)}"
            )
        return DATASETS[self.name](self)
