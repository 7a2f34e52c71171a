"""Networks that turn images into features. A new one is one file and one line in EXTRACTORS."""

from typing import Protocol

import torch

from triptych.metrics.extractors.classifier_cache import cached_classifier
from triptych.metrics.extractors.extractor import Extractor, TrainingImages
from triptych.work import Watch, unwatched


class MakesExtractor(Protocol):
    """Gets an extractor ready: from a file, or by training it."""

    def __call__(self, train: TrainingImages, device: torch.device, *, watch: Watch = unwatched) -> Extractor:
        """Return the extractor of this training split, on `device`; `watch` sees how far it has come."""
        ...


EXTRACTORS: dict[str, MakesExtractor] = {
    "classifier": cached_classifier,
}
"""How to get each extractor."""
