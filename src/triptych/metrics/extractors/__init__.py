"""Networks that turn images into features. A new one is one file and one line in EXTRACTORS."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from triptych.metrics.extractors import dinov2, inception, lpips
from triptych.metrics.extractors.classifier_cache import cached_classifier
from triptych.metrics.extractors.classifier_recipe import classifier_widths
from triptych.metrics.extractors.extractor import Extractor, TrainingImages
from triptych.work import Watch, unwatched


class MakesExtractor(Protocol):
    """Gets an extractor ready: from a file, or by training it."""

    def __call__(self, train: TrainingImages, device: torch.device, *, watch: Watch = unwatched) -> Extractor:
        """Return the extractor of this training split, on `device`; `watch` sees how far it has come."""
        ...


@dataclass(frozen=True)
class Available:
    """An extractor that can be had for a training split.

    Attributes:
        make: gets it ready, which may take minutes.
        widths: numbers in each of its outputs, by name, known before it is there.
    """

    make: MakesExtractor
    widths: Callable[[TrainingImages], Mapping[str, int]]


EXTRACTORS: dict[str, Available] = {
    "classifier": Available(cached_classifier, classifier_widths),
    "inception": Available(inception.inception, inception.inception_widths),
    "lpips": Available(lpips.lpips, lpips.lpips_widths),
    "lpips_vgg": Available(lpips.lpips_vgg, lpips.lpips_vgg_widths),
    "dinov2": Available(dinov2.dinov2, dinov2.dinov2_widths),
}
"""Every extractor by name."""
