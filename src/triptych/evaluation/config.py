"""What `triptych evaluate` measures where its options do not say otherwise."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from triptych.errors import UserError
from triptych.guidance import named_guide
from triptych.metrics import named_metrics
from triptych.sampling import named_sampler
from triptych.sampling.presets import expanded

USUAL_METRICS = (
    "fd_classifier",
    "classifier_accuracy",
    "diversity_classifier",
    "diversity_classifier_all",
    "nearest_classifier",
)
"""What needs no file from elsewhere: the classifier is trained on the run's own images."""

SPLITS: dict[str, Literal["train", "held-out"]] = {
    "train": "train",
    "test": "held-out",
    "held-out": "held-out",
}
"""The split of a data set that a protocol's word means."""


class Protocol(NamedTuple):
    """How many images are compared with which real ones; the other split stands beside.

    Attributes:
        count: generated images; None: as many as can be set against held-out ones.
        reference: the split that they are compared with.
    """

    count: int | None
    reference: Literal["train", "held-out"]


def parse_protocol(text: str) -> Protocol:
    """Return the protocol that is written `10k/test`, `50k/train` or `340/held-out`.

    Raises:
        UserError: it is none.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,8})(k?)/([a-z-]+)", text)
    if not found or found[3] not in SPLITS:
        remedy = f"write images/split, such as 10k/test; splits are {', '.join(SPLITS)}"
        raise UserError(f"protocol {text!r}", "it is not of that form", remedy)
    return Protocol(int(found[1]) * (1000 if found[2] else 1), SPLITS[found[3]])


@dataclass(frozen=True)
class EvaluationConfig:
    """Which rows an evaluation has: one for every combination."""

    checkpoint: tuple[str, ...] = ("last",)
    """Checkpoints: last, best-mse, best-fid or best- and another metric, epoch-350 or 350."""
    guidance: tuple[float, ...] = ()
    """Guidance scales; none given: that of `sampling`."""
    guide: tuple[str, ...] = ()
    """How scales above 1 guide; none given: that of `sampling`."""
    sampler: tuple[str, ...] = ()
    """Samplers or presets; none given: the first of `sampling`."""
    count: int | None = None
    """Images of each row; None: the protocol's, or as many as there are held-out ones, in equal classes."""
    protocol: str | None = None
    """Images of each row and the split that they are compared with: 10k/test, 50k/train. None: train."""
    metrics: tuple[str, ...] = USUAL_METRICS
    """What is measured, by name, or by the name of an extractor for all that is read from it; rows are ranked
    by the first."""
    batch_size: int | None = None
    """Images drawn at a time; None: that of `sampling`."""

    def __post_init__(self) -> None:
        """Raise `UserError` for values out of range."""
        object.__setattr__(self, "sampler", expanded(self.sampler))
        for sampler in self.sampler:
            named_sampler(sampler)
        for guide in self.guide:
            named_guide(guide)
        named_metrics(self.metrics)
        if not self.checkpoint or not all(0 <= scale < math.inf for scale in self.guidance):
            raise UserError(
                "evaluation.checkpoint and guidance",
                f"{list(self.checkpoint)} and {list(self.guidance)}",
                "name at least one checkpoint, and scales of at least 0",
            )
        for name, number in (("count", self.count), ("batch-size", self.batch_size)):
            if number is not None and number < 1:
                raise UserError(f"evaluation.{name}", f"{number} is out of range", "choose at least 1")
        if self.protocol is not None:
            parse_protocol(self.protocol)
            if self.count is not None:
                found = f"{self.protocol} and evaluation.count {self.count} both say how many images"
                raise UserError("evaluation.protocol", found, "set one of the two")
