"""Training of the classifier: every draw is a function of the recipe's seed, the step and the image.

Letters: B images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.images import to_network
from triptych.metrics.extractors.classifier import Classifier
from triptych.metrics.extractors.classifier_recipe import SMALL, ClassifierRecipe, recipe_for
from triptych.metrics.extractors.extractor import full_float32
from triptych.random import Stream, integers, normal, permutation, stream_key
from triptych.work import Watch, Work, unwatched

RANDOM_PART = 1
"""Part number of this classifier's draws, so that they are not those of the model under training."""

REPORT_EVERY = 10
"""Steps between two reports of progress."""


def train_classifier(
    images: Tensor,
    labels: Tensor,
    classes: int,
    recipe: ClassifierRecipe | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
) -> Classifier:
    """Train a classifier, bitwise reproducibly on one machine.

    Above 16x16 pixels on a CPU that takes the same number of threads too, as they share sums there.

    Args:
        images: uint8 [N, C, H, W], H and W at least 4.
        labels: int64 [N], each in [0, classes).
        classes: K.
        recipe: how; by default what suits images of this size.
        device: to train on and to leave the classifier on.
        watch: sees how far it has come.
    """
    recipe = recipe or recipe_for(images.shape[1:])
    images, labels = images.to(device), labels.to(device)
    classifier = Classifier(*images.shape[1:], classes, recipe)
    _initialise(classifier, recipe.seed)
    classifier.to(device).train()
    steps = recipe.steps(len(images))
    optimiser = torch.optim.AdamW(
        classifier.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    by_pixel = images.permute(0, 2, 3, 1).contiguous()  # [N, H, W, C]: a pixel's channels are moved as one
    work = Work("training the classifier, once for this data set", 0, steps * recipe.batch_size)
    # Small images take one CPU thread: more would wait for one another longer than they work.
    few = _threads(1 if images[0, 0].numel() <= SMALL**2 else torch.get_num_threads())
    with full_float32(images.device), few, torch.enable_grad():
        for step, order in zip(range(steps), _batches(len(images), recipe), strict=False):
            if step % REPORT_EVERY == 0:
                watch(work._replace(done=step * recipe.batch_size))
            index = order.to(device)
            x = _varied(by_pixel, index, step, recipe).contiguous(memory_format=classifier.memory_format)
            _, logits = classifier.logits(x)
            loss = F.cross_entropy(logits, labels[index], label_smoothing=recipe.label_smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.param_groups[0]["lr"] = recipe.learning_rate * _ramp(step, steps)
            optimiser.step()
        classifier.finish()
        features = classifier(images)["features"]
        classifier.mean.copy_(features.mean(0))
        classifier.deviation.copy_(features.std(0, correction=0).clamp(min=1e-6))
    watch(work._replace(done=work.total))
    return classifier


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


def _varied(by_pixel: Tensor, index: Tensor, step: int, recipe: ClassifierRecipe) -> Tensor:
    """Return images at `index`, [B, C, H, W] in [-1, 1], moved at random and, in some recipes, mirrored.

    Each moves by up to `recipe.shift` of its side, either way along both sides, and repeats its border.

    Args:
        by_pixel: all images, uint8 [N, H, W, C].
        index: int64 [B].
        step: of the optimiser.
        recipe: how far, and whether.
    """
    _, height, width, _ = by_pixel.shape
    reach = round(recipe.shift * min(height, width))
    draw = integers(recipe.seed, stream_key(Stream.FLIP, RANDOM_PART), step, index, (3,))
    move = draw[:, :2] % (2 * reach + 1) - reach
    row = (move[:, 0, None] + torch.arange(height, device=index.device)).clamp(0, height - 1)  # [B, H]
    column = (move[:, 1, None] + torch.arange(width, device=index.device)).clamp(0, width - 1)  # [B, W]
    if recipe.mirrored:
        column = torch.where(draw[:, 2, None] % 2 == 1, width - 1 - column, column)
    pixels = by_pixel[index[:, None, None], row[:, :, None], column[:, None, :]]  # [B, H, W, C]
    return to_network(pixels).permute(0, 3, 1, 2)


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
