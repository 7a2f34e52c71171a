"""How the classifier of a data set is built and trained, chosen by what its images are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from triptych.metrics.extractors.extractor import TrainingImages

SMALL = 16
"""Side in pixels up to which images are small."""

COLOURS = 3


@dataclass(frozen=True)
class ClassifierRecipe:
    """How the classifier is built and trained; part of the cache key. The defaults suit small images."""

    trunk: Literal["small", "large"] = "small"
    features: int = 64  # D, width of the last hidden layer
    width: int = (
        64  # channels: small: of all convolutions but the first, which has half; large: of the second
    )
    batch_size: int = 64
    least_images: int = 16_000  # images seen in training: at least so many,
    least_epochs: int = 4  # and at least so many times the training set,
    most_images: int = 400_000  # but never more than so many
    learning_rate: float = 3e-3  # peak: linear warm-up over 5 % of the steps, cosine to zero
    weight_decay: float = 0.05
    label_smoothing: float = 0.0  # share of the target that is spread over all classes
    shift: float = 0.125  # largest random shift in training, as a share of the image's side
    mirrored: bool = False  # whether training images are mirrored left to right with probability one half
    seed: int = 0

    def steps(self, images: int) -> int:
        """Return the number of optimiser steps for a training set of so many images."""
        seen = min(max(self.least_images, self.least_epochs * images), self.most_images)
        return math.ceil(seen / self.batch_size)


SMALL_IMAGES = ClassifierRecipe()

LARGE_IMAGES = ClassifierRecipe(
    trunk="large",
    batch_size=128,
    least_images=50_000,
    least_epochs=5,
    learning_rate=4e-3,
    label_smoothing=0.1,
)
"""Three minutes of two CPU cores for CIFAR-10's 50,000 images."""


def recipe_for(image_shape: Sequence[int], class_names: Sequence[str] = ()) -> ClassifierRecipe:
    """Return the recipe for images of this shape, (C, H, W), and these classes.

    Photographs are mirrored in training: what they show has no left or right. Signs have: so grey images
    are taken for writing, and so are colour images with a class whose name is a single character.
    """
    channels, height, width = image_shape
    if max(height, width) <= SMALL:
        return SMALL_IMAGES
    signs = channels != COLOURS or any(len(name) == 1 for name in class_names)
    return replace(LARGE_IMAGES, mirrored=not signs)


def classifier_widths(train: TrainingImages) -> dict[str, int]:
    """Return the numbers in each output of the classifier of a training set, by name, without training it."""
    recipe = recipe_for(train.images.shape[1:], train.class_names)
    return {"features": recipe.features, "log_probs": len(train.class_names)}
