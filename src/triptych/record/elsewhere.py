"""Events of what was trained in another place: a model that was imported, a run that was copied small."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.record.figures import DataSummary


@dataclass(frozen=True)
class Imported:
    """The first event of a run that holds a model trained elsewhere: everything about it."""

    name: str
    config: dict
    """The resolved configuration, as in `config.yaml`; what it says of training was never done."""
    data: DataSummary
    """What its images look like; which images it was trained on is not known, nor how many."""
    parameters: int
    conditional: bool
    versions: dict[str, str]
    layout: str
    """Whose files these were: `diffusers` or `dit`."""
    source: str
    """The file of weights, by the folder that was given."""
    digest: str
    """The sha256 of that file."""
    data_guessed: bool = False
    """Whether the data set is named for the size of the images alone, and nobody said that it is theirs."""
    flops: float = 0.0
    """As of `Started`."""


@dataclass(frozen=True)
class Exported:
    """A small copy of a run begins here: all before happened elsewhere, and one model came along."""

    run: str
    """What the run is called that this is a copy of."""
    checkpoint: str
    """The checkpoint whose weights these are."""
    weights: str
    """Which of its weights: `ema`, `ema_long` or `raw`."""
    dtype: str
    """What matrices and kernels were rounded to, `bf16`, `fp16` or one after the other; float32: none."""
    digest: str = ""
    """sha256 of the weights as they are here, by which figures of theirs are known."""
