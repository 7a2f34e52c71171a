"""Networks that turn images into features. A new one is one file and one line in EXTRACTORS."""

from collections.abc import Callable

import torch

from triptych.metrics.extractors.classifier import cached_classifier
from triptych.metrics.extractors.extractor import Extractor, TrainingImages

EXTRACTORS: dict[str, Callable[[TrainingImages, torch.device], Extractor]] = {
    "classifier": cached_classifier,
}
"""How to get each extractor, given the training split and the device to work on."""
