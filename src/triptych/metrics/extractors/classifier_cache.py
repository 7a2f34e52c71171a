"""The classifier of a training set, trained once and kept."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

import torch

from triptych.cache import read_weights, write_weights
from triptych.cache_place import cache_folder
from triptych.errors import UserError
from triptych.metrics.extractors.classifier import Classifier
from triptych.metrics.extractors.classifier_recipe import ClassifierRecipe, recipe_for
from triptych.metrics.extractors.classifier_training import train_classifier
from triptych.metrics.extractors.extractor import TrainingImages
from triptych.work import Watch, unwatched

VERSION = 1
"""Part of the cache key: to be raised with any change of architecture or training."""


def cached_classifier(
    train: TrainingImages,
    device: torch.device | str = "cpu",
    recipe: ClassifierRecipe | None = None,
    watch: Watch = unwatched,
) -> Classifier:
    """Return the classifier of a training set, from the cache, or trained now and put there.

    The cache key covers the training set, the recipe, and VERSION. A damaged file is replaced, with a
    warning. Several ranks should not train it at once: let one call this before the others do.

    Args:
        train: the images that it learns from.
        device: to train on and to leave the classifier on.
        recipe: how; by default what suits the images and classes.
        watch: sees how far training has come, where there is any.

    Raises:
        UserError: there are no two classes to be told apart.
    """
    classes = len(train.class_names)
    if classes < 2:
        raise UserError(
            f"train a classifier on {len(train.images)} images",
            f"they have {classes} class" + ("" if classes == 1 else "es"),
            "give labelled images of at least two classes",
        )
    recipe = recipe or recipe_for(train.images.shape[1:], train.class_names)
    key = repr((VERSION, train.digest, train.class_names, sorted(asdict(recipe).items())))
    path = cache_folder() / f"classifier-{hashlib.sha256(key.encode()).hexdigest()[:20]}.safetensors"
    weights = read_weights(path)
    if weights is None:
        classifier = train_classifier(train.images, train.labels, classes, recipe, device, watch)
        write_weights(path, classifier.state_dict())
        return classifier
    classifier = Classifier(*train.images.shape[1:], classes, recipe).finish()
    classifier.load_state_dict(weights)
    return classifier.to(device)
