"""The real images that generated ones are set against: a whole split, and others to stand beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from triptych.cache_place import cache_folder
from triptych.data.dataset import ImageSet
from triptych.evaluation.measure import Batch, measure
from triptych.metrics.extractors.extractor import Extractor
from triptych.metrics.feature_store import FeatureStore
from triptych.metrics.features import FeatureSet
from triptych.work import Watch, Work, unwatched

BATCH = 500
KEPT_FROM = 5_000
"""Real images from which their features are kept in the cache: fewer are measured in a few seconds."""


def real_features(
    images: ImageSet,
    index: Tensor,
    extractor: Extractor,
    widths: Mapping[str, int],
    device: torch.device | str,
    watch: Watch = unwatched,
    *,
    batch_size: int = BATCH,
) -> FeatureSet:
    """Return the features of some images of a split, known by their numbers there.

    Those of many images are kept in the cache, under a key of images, extractor and kind of device, bit for
    bit. They are mapped from there, which takes no memory, and go on where they were cut off.

    Args:
        images: the split.
        index: numbers of the images, int64 [M], ascending.
        extractor: the network, already on `device`.
        widths: numbers in each of its outputs that are wanted, by name; none: labels are enough.
        device: where to run it.
        watch: sees how far the work has come.
        batch_size: images that the network is given at a time. In the cache they stand as ever.
    """
    if not widths:
        return FeatureSet.of({}, images.labels.cpu()[index], extractor.sha256, index)
    if len(index) < KEPT_FROM:
        return measure(_batches(images, index, watch, batch_size), extractor, device, widths)
    chosen = hashlib.sha256(index.numpy().tobytes()).hexdigest()
    kind = torch.device(device).type
    outputs = tuple(sorted(widths))
    identity = repr((images.digest, chosen, extractor.name, extractor.sha256, outputs, kind))
    folder = cache_folder() / f"features-{hashlib.sha256(identity.encode()).hexdigest()[:20]}"
    store = FeatureStore(folder, widths, len(index), BATCH, identity)
    missing = store.read()
    left = torch.cat([index[:0], *(index[batch * BATCH :][:BATCH] for batch in missing)])
    for batch, (pixels, _, _) in zip(missing, _batches(images, left, watch), strict=True):
        parts = [extractor(part.to(device)) for part in pixels.split(batch_size)]
        store.write(batch, {name: torch.cat([part[name] for part in parts]) for name in widths})
    return FeatureSet.of(store.rows(), images.labels.cpu()[index], extractor.sha256, index)


def matching(available: Tensor, wanted: Tensor | None, count: int) -> Tensor:
    """Choose real images with the classes of other images, as far as there are so many.

    Args:
        available: labels of the real images, int64 [N].
        wanted: labels to match, int64 [M]; None to choose `count` images regardless of class.
        count: number of images where `wanted` is None.

    Returns:
        positions in `available`, int64, ascending: at most as many of each class as occur in `wanted`,
        evenly spaced among those of the class, so that the order of the files favours none.
    """
    if wanted is None:
        return _spaced(torch.arange(len(available)), count)
    chosen = [
        _spaced((available == label).nonzero().squeeze(1), int((wanted == label).sum()))
        for label in wanted.unique().tolist()
    ]
    return torch.cat(chosen).sort().values


def _spaced(positions: Tensor, count: int) -> Tensor:
    count = min(count, len(positions))
    return positions[torch.arange(count) * len(positions) // max(count, 1)]


def _batches(images: ImageSet, index: Tensor, watch: Watch, size: int = BATCH) -> Iterator[Batch]:
    work = Work(f"measuring {images.name}", 0, len(index))
    for chunk in index.split(size) if len(index) else ():
        watch(work)
        part = images.take(chunk.to(images.labels.device))
        yield part.images, part.labels, chunk
        work = work._replace(done=work.done + len(chunk))
    watch(work)
