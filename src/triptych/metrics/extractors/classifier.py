"""The extractor for data sets without one of their own: a small classifier, trained in seconds.

Its figures have their own names (`fd_classifier`, `classifier_accuracy`, ...). They judge images by
what tells the classes of this data set apart, compare models on this data set and nothing beyond, and
are never called FID.

Letters: B images, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.cache import (
    cache_folder,
    read_weights,
    weights_digest,
    write_weights,
)
from triptych.errors import UserError
from triptych.images import to_network
from triptych.metrics.extractors.extractor import TrainingImages, full_float32
from triptych.random import Stream, integers, normal, permutation, stream_key

VERSION = 1
"""Part of the cache key: to be raised with any change of architecture or training."""

RANDOM_PART = 1
"""Part number of this classifier's draws, so that they are not those of the model under training."""

CHUNK = 500
"""Images per forward pass: bounds memory, whatever the caller's batch."""

SMALL = 16 * 16
"""Pixels up to which training takes one CPU thread: more would wait for one another longer than they work."""


@dataclass(frozen=True)
class ClassifierRecipe:
    """How the classifier is built and trained; part of the cache key."""

    features: int = 64  # D, width of the last hidden layer
    width: int = 64  # channels of all convolutions but the first, which has half as many
    batch_size: int = 64
    least_images: int = 16_000  # images seen in training: at least so many,
    least_epochs: int = 4  # and at least so many times the training set
    learning_rate: float = 3e-3  # peak: linear warm-up over 5 % of the steps, cosine to zero
    weight_decay: float = 0.05
    shift: float = 0.125  # largest random shift in training, as a share of the image's side
    seed: int = 0

    def steps(self, images: int) -> int:
        """Return the number of optimiser steps for a training set of so many images."""
        return math.ceil(max(self.least_images, self.least_epochs * images) / self.batch_size)


class Classifier(nn.Module):
    """A small convolutional classifier that gives features and log-probabilities.

    The features are the last hidden layer before its activation, each shifted and scaled to mean 0 and
    standard deviation 1 over the training images. A layer's own scale is arbitrary and changes from one
    training to the next; in units of training standard deviations a Fréchet distance is 0 for equal
    statistics, D for images that all have the features of the mean image, and nearly the same for any
    seed (held-out digits read 0.26 to 0.31 over five). They are not whitened further, because that would
    make the many directions in which the classes hardly differ count as much as the few in which they do.
    """

    name = "classifier"

    def __init__(self, channels: int, height: int, width: int, classes: int, recipe: ClassifierRecipe):
        super().__init__()
        self.image_shape = (channels, height, width)
        self.trunk = _trunk(channels, height, width, recipe)
        self.head = nn.Linear(recipe.features, classes)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(recipe.features))
        self.register_buffer("deviation", torch.ones(recipe.features))

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw features [B, D] and logits [B, K] of x, float32 [B, C, H, W] in [-1, 1]."""
        raw = self.trunk(x)
        return raw, self.head(F.silu(raw))

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Turn images, uint8 [B, C, H, W], into `features` [B, D] and `log_probs` [B, K], float32.

        Raises:
            UserError: the images are not of the size that the classifier was trained on.
        """
        if tuple(images.shape[1:]) != self.image_shape:
            raise UserError(
                f"classify images of shape {tuple(images.shape[1:])}",
                f"the classifier was trained on shape {self.image_shape}",
                "give images of the training set's channels and size",
            )
        with full_float32(images.device):
            chunks = [self.logits(to_network(chunk)) for chunk in images.split(CHUNK)]
        raw, logits = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        return {
            "features": (raw - self.mean) / self.deviation,
            "log_probs": logits.log_softmax(dim=1),
        }

    @property
    def sha256(self) -> str:
        """Hash of the weights, hexadecimal."""
        return weights_digest(self.state_dict())


def cached_classifier(
    train: TrainingImages, device: torch.device | str = "cpu", recipe: ClassifierRecipe | None = None
) -> Classifier:
    """Return the classifier of a training set, from the cache, or trained now and put there.

    The cache key covers the training set, the recipe, and VERSION. A damaged file is replaced, with a
    warning. Several ranks should not train it at once: let one call this before the others do.
    """
    recipe = recipe or ClassifierRecipe()
    key = repr((VERSION, train.digest, train.class_names, sorted(asdict(recipe).items())))
    path = cache_folder() / f"classifier-{hashlib.sha256(key.encode()).hexdigest()[:20]}.safetensors"
    weights = read_weights(path)
    if weights is None:
        classifier = train_classifier(train.images, train.labels, len(train.class_names), recipe, device)
        write_weights(path, classifier.state_dict())
        return classifier
    classifier = Classifier(*train.images.shape[1:], len(train.class_names), recipe)
    classifier.load_state_dict(weights)
    return _ready(classifier.to(device))


def train_classifier(
    images: Tensor,
    labels: Tensor,
    classes: int,
    recipe: ClassifierRecipe | None = None,
    device: torch.device | str = "cpu",
) -> Classifier:
    """Train a classifier, bitwise reproducibly on one machine.

    Above 16x16 pixels on a CPU that takes the same number of threads too, as they share sums there.

    Args:
        images: uint8 [N, C, H, W], H and W at least 4.
        labels: int64 [N], each in [0, classes).
        classes: K.
        recipe: how; the default takes seconds for small sets.
        device: to train on and to leave the classifier on.
    """
    recipe = recipe or ClassifierRecipe()
    images, labels = images.to(device), labels.to(device)
    classifier = Classifier(*images.shape[1:], classes, recipe)
    _initialise(classifier, recipe.seed)
    classifier.to(device)
    steps = recipe.steps(len(images))
    optimiser = torch.optim.AdamW(
        classifier.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    reach = round(recipe.shift * min(images.shape[2:]))
    few = _threads(1 if images[0, 0].numel() <= SMALL else torch.get_num_threads())
    with full_float32(images.device), few, torch.enable_grad():
        for step, order in zip(range(steps), _batches(len(images), recipe), strict=False):
            index = order.to(device)
            x = _shifted(to_network(images[index]), index, reach, step, recipe.seed)
            _, logits = classifier.logits(x)
            loss = F.cross_entropy(logits, labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.param_groups[0]["lr"] = recipe.learning_rate * _ramp(step, steps)
            optimiser.step()
        features = classifier(images)["features"]
        classifier.mean.copy_(features.mean(0))
        classifier.deviation.copy_(features.std(0, correction=0).clamp(min=1e-6))
    return _ready(classifier)


def _trunk(channels: int, height: int, width: int, recipe: ClassifierRecipe) -> nn.Sequential:
    """Build the convolutions: halve the side until it is at most 4, average to half of that, project."""
    inputs, stride = recipe.width // 2, 1
    if max(height, width) > 16:  # where the first layers at full size would take most of the time
        stride, height, width = 2, -(-height // 2), -(-width // 2)
    layers: list[nn.Module] = [nn.Conv2d(channels, inputs, 3, stride, padding=1), nn.SiLU()]
    while max(height, width) > 4:
        for stride in (2, 1):
            layers += [nn.Conv2d(inputs, recipe.width, 3, stride, padding=1)]
            layers += [nn.GroupNorm(8, recipe.width), nn.SiLU()]
            inputs = recipe.width
        height, width = -(-height // 2), -(-width // 2)
    # Plain average pooling: the adaptive one has no repeatable backward on CUDA.
    layers += [nn.AvgPool2d(2, ceil_mode=True), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(inputs * -(-height // 2) * -(-width // 2), recipe.features))


def _initialise(classifier: Classifier, seed: int) -> None:
    """Draw weights from N(0, 2 / fan-in) (He et al. 2015), leaving biases 0 and norms 1."""
    stream = stream_key(Stream.WEIGHTS, RANDOM_PART)
    with torch.no_grad():
        for layer, parameter in enumerate(classifier.parameters()):
            if parameter.ndim > 1:
                rows = torch.arange(len(parameter))
                draw = normal(seed, stream, layer, rows, parameter.shape[1:])
                parameter.copy_(draw * math.sqrt(2 / parameter[0].numel()))
        for module in classifier.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.zero_()


def _batches(images: int, recipe: ClassifierRecipe) -> Iterator[Tensor]:
    """Yield image indices, int64 [B], without end: every epoch is shuffled, batches cross epoch ends."""
    pending = torch.zeros(0, dtype=torch.int64)
    for epoch in count():
        order = permutation(recipe.seed, stream_key(Stream.ORDER, RANDOM_PART), epoch, images)
        pending = torch.cat([pending, order])
        while len(pending) >= recipe.batch_size:
            yield pending[: recipe.batch_size]
            pending = pending[recipe.batch_size :]


def _shifted(x: Tensor, index: Tensor, reach: int, step: int, seed: int) -> Tensor:
    """Move every image of x, [B, C, H, W], by up to `reach` pixels each way, repeating its border."""
    if not reach:
        return x
    _, _, height, width = x.shape
    draw = integers(seed, stream_key(Stream.FLIP, RANDOM_PART), step, index, (2,)) % (2 * reach + 1)
    row = draw[:, 0, None] + torch.arange(height, device=x.device)  # [B, H]
    column = draw[:, 1, None] + torch.arange(width, device=x.device)  # [B, W]
    padded = F.pad(x, (reach,) * 4, mode="replicate").permute(0, 2, 3, 1)  # [B, H', W', C]
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return padded[image, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _ramp(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step: linear warm-up, then cosine to zero."""
    done = step / steps
    return min(1.0, (done + 1 / steps) / 0.05) * 0.5 * (1 + math.cos(math.pi * done))


@contextmanager
def _threads(number: int) -> Generator[None, None, None]:
    """Compute on so many CPU threads inside the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ready(classifier: Classifier) -> Classifier:
    return classifier.eval().requires_grad_(False)
