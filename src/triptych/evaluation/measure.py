"""Images -> features -> figures, each with the same figure of real images beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.metrics import METRICS
from triptych.metrics.extractors.extractor import Extractor
from triptych.metrics.features import FeatureSet
from triptych.metrics.metric import Metric
from triptych.record.events import Figure

Batch = tuple[Tensor, Tensor | None, Tensor]
"""Pixels, uint8 [B, C, H, W]; labels, int64 [B], or None; indices in the whole set, int64 [B]."""


def metrics_for(extractor: str) -> dict[str, Metric]:
    """Return all metrics that are read from the features of the extractor of this name, by name."""
    return {name: metric for name, metric in METRICS.items() if metric.extractor == extractor}


def no_features(extractor: Extractor, metrics: Mapping[str, Metric] = METRICS) -> FeatureSet:
    """Return a feature set without images, to be filled from this extractor's outputs for `metrics`."""
    mine = [metric for metric in metrics.values() if metric.extractor == extractor.name]
    return FeatureSet(frozenset().union(*(metric.needs for metric in mine)), extractor.sha256)


def measure(
    images: Iterable[Batch],
    extractor: Extractor,
    device: torch.device | str,
    metrics: Mapping[str, Metric] = METRICS,
) -> FeatureSet:
    """Return the features of a stream of images, keeping what `metrics` need.

    The labels are the classes that the images show or were asked to show: None for images drawn without
    a class, be it from an unconditional model or at guidance scale 0.

    Args:
        images: batches of any size, in any order.
        extractor: the network, already on `device`.
        device: where to run it.
        metrics: those that will read the features; of other extractors' metrics nothing is kept.

    Raises:
        UserError: an index occurs twice.
    """
    features = no_features(extractor, metrics)
    for pixels, labels, index in images:
        features.add(extractor(pixels.to(device)), labels, index)
    return features


def figures(
    generated: FeatureSet,
    reference: FeatureSet,
    real: FeatureSet,
    metrics: Mapping[str, Metric] = METRICS,
    *,
    force: bool = False,
) -> tuple[Figure, ...]:
    """Return one figure for each metric of `generated`, and of `real`, against `reference`.

    Metrics that need labels are left out where `generated` has none.

    Args:
        generated: features of generated images.
        reference: features of the images to compare with.
        real: features of real images that are not among the reference, as many as were generated, of the
            same classes: what a perfect generator would score. Fewer than a metric takes give None.
        metrics: those whose needs the feature sets were made for, by name.
        force: measure even fewer images than a metric takes.

    Raises:
        UserError: too few generated images for one of the metrics.
    """
    beside = real if generated.labelled else real.unlabelled()
    out = []
    for name, metric in metrics.items():
        if metric.labelled and not generated.labelled:
            continue
        value = metric(generated, reference, force=force)
        try:
            truth = metric(beside, reference, force=force)
        except UserError:  # too few held-out images, which must not cost the figure of the generated ones
            truth = None
        out.append(
            Figure(
                metric=name,
                estimate=value.estimate,
                spread=value.spread,
                real=truth.estimate if truth else None,
                per_class=value.per_class,
                real_per_class=truth.per_class if truth else None,
                split_std=value.split_std,
                groups=value.groups,
                n=value.n,
                real_n=truth.n if truth else None,
            )
        )
    return tuple(out)
