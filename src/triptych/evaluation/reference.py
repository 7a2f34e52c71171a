"""The real images that generated ones are set against: all of the training split, and some held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from triptych.data.dataset import Dataset, ImageSet
from triptych.evaluation.measure import Batch, measure
from triptych.metrics import METRICS
from triptych.metrics.extractors.extractor import Extractor
from triptych.metrics.features import FeatureSet
from triptych.metrics.metric import Metric

BATCH = 500


def reference_features(
    dataset: Dataset,
    extractor: Extractor,
    device: torch.device | str,
    metrics: Mapping[str, Metric] = METRICS,
) -> FeatureSet:
    """Return the features of the whole training split: the reference of every figure."""
    everything = torch.arange(len(dataset.train))
    return measure(_batches(dataset.train, everything), extractor, device, metrics)


def real_features(
    dataset: Dataset,
    generated: FeatureSet,
    extractor: Extractor,
    device: torch.device | str,
    metrics: Mapping[str, Metric] = METRICS,
) -> FeatureSet:
    """Return the features of held-out images that match `generated` in number and classes.

    Its length tells how many there are: fewer where the held-out split has fewer.
    """
    held_out = dataset.held_out
    labels = generated.labels if generated.labelled else None
    index = matching(held_out.labels.cpu(), labels, len(generated))
    return measure(_batches(held_out, index), extractor, device, metrics)


def matching(held_out: Tensor, wanted: Tensor | None, count: int) -> Tensor:
    """Choose held-out images with the classes of other images, as far as there are so many.

    Args:
        held_out: labels of the held-out images, int64 [N].
        wanted: labels to match, int64 [M]; None to choose `count` images regardless of class.
        count: number of images where `wanted` is None.

    Returns:
        positions in `held_out`, int64, ascending: at most as many of each class as occur in `wanted`,
        evenly spaced among those of the class, so that the order of the files favours none.
    """
    if wanted is None:
        return _spaced(torch.arange(len(held_out)), count)
    chosen = [
        _spaced((held_out == label).nonzero().squeeze(1), int((wanted == label).sum()))
        for label in wanted.unique().tolist()
    ]
    return torch.cat(chosen).sort().values


def _spaced(positions: Tensor, count: int) -> Tensor:
    count = min(count, len(positions))
    return positions[torch.arange(count) * len(positions) // max(count, 1)]


def _batches(images: ImageSet, index: Tensor) -> Iterator[Batch]:
    for chunk in index.split(BATCH):
        part = images.take(chunk.to(images.labels.device))
        yield part.images, part.labels, chunk
