"""The real images that generated ones are set against: all of the training split, and some held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from triptych.cache import cache_folder, read_weights, write_weights
from triptych.data.dataset import Dataset, ImageSet
from triptych.evaluation.measure import Batch, measure, no_features
from triptych.metrics import METRICS
from triptych.metrics.extractors.extractor import Extractor
from triptych.metrics.features import FeatureSet
from triptych.metrics.metric import Metric
from triptych.work import Watch, Work, unwatched

BATCH = 500

KEPT_FROM = 5_000
"""Training images from which their features are kept in the cache: fewer are measured in a few seconds."""


def reference_features(
    dataset: Dataset,
    extractor: Extractor,
    device: torch.device | str,
    metrics: Mapping[str, Metric] = METRICS,
    watch: Watch = unwatched,
) -> FeatureSet:
    """Return the features of the whole training split: the reference of every figure."""
    train = dataset.train
    outputs = training_outputs(train, extractor, device, watch)
    labels = train.labels.cpu()
    features = no_features(extractor, metrics)
    for chunk in torch.arange(len(train)).split(BATCH):
        features.add({name: rows[chunk] for name, rows in outputs.items()}, labels[chunk], chunk)
    return features


def training_outputs(
    train: ImageSet, extractor: Extractor, device: torch.device | str, watch: Watch = unwatched
) -> dict[str, Tensor]:
    """Return the extractor's outputs of all training images, in order, on the host: each float32 [N, D].

    Those of a large split come from the cache, where they stand as they were computed, bit for bit, under a
    key of images, extractor and kind of device. A damaged file is replaced, with a warning.
    """
    key = repr((train.digest, extractor.name, extractor.sha256, torch.device(device).type))
    path = cache_folder() / f"features-{hashlib.sha256(key.encode()).hexdigest()[:20]}.safetensors"
    kept = read_weights(path) if len(train) >= KEPT_FROM else None
    if kept is not None:
        return kept
    parts: dict[str, list[Tensor]] = {}
    for pixels, _, _ in _batches(train, torch.arange(len(train)), watch):
        for name, rows in extractor(pixels.to(device)).items():
            parts.setdefault(name, []).append(rows.cpu())
    outputs = {name: torch.cat(rows) for name, rows in parts.items()}
    if len(train) >= KEPT_FROM:
        write_weights(path, outputs)
    return outputs


def real_features(
    dataset: Dataset,
    generated: FeatureSet,
    extractor: Extractor,
    device: torch.device | str,
    metrics: Mapping[str, Metric] = METRICS,
    watch: Watch = unwatched,
) -> FeatureSet:
    """Return the features of held-out images that match `generated` in number and classes.

    Its length tells how many there are: fewer where the held-out split has fewer.
    """
    held_out = dataset.held_out
    labels = generated.labels if generated.labelled else None
    index = matching(held_out.labels.cpu(), labels, len(generated))
    return measure(_batches(held_out, index, watch), extractor, device, metrics)


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


def _batches(images: ImageSet, index: Tensor, watch: Watch) -> Iterator[Batch]:
    work = Work(f"measuring {images.name}", 0, len(index))
    for chunk in index.split(BATCH):
        watch(work)
        part = images.take(chunk.to(images.labels.device))
        yield part.images, part.labels, chunk
        work = work._replace(done=work.done + len(chunk))
    watch(work)
