"""Images -> features -> figures, each with the same figure of real images beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.metrics import METRICS
from triptych.metrics.extractors.extractor import Extractor
from triptych.metrics.features import FeatureSet
from triptych.metrics.metric import Metric, Value
from triptych.record.events import Figure

Batch = tuple[Tensor, Tensor | None, Tensor]
"""Pixels, uint8 [B, C, H, W]; labels, int64 [B], or None; indices in the whole set, int64 [B]."""


def metrics_for(extractor: str, metrics: Mapping[str, Metric] = METRICS) -> dict[str, Metric]:
    """Return those metrics that are read from the features of the extractor of this name, by name."""
    return {name: metric for name, metric in metrics.items() if metric.extractor == extractor}


def measure(
    images: Iterable[Batch],
    extractor: Extractor,
    device: torch.device | str,
    outputs: Iterable[str],
) -> FeatureSet:
    """Return the features of a stream of images.

    The labels are the classes that the images show or were asked to show: None for images drawn without
    a class, be it from an unconditional model or at guidance scale 0.

    Args:
        images: batches of any size, in any order.
        extractor: the network, already on `device`.
        device: where to run it.
        outputs: names of its outputs that are kept.

    Raises:
        UserError: an index occurs twice.
    """
    features = FeatureSet(outputs, extractor.sha256)
    for pixels, labels, index in images:
        features.add(extractor(pixels.to(device)), labels, index)
    return features


def figures(
    generated: FeatureSet,
    reference: FeatureSet,
    truths: Mapping[str, Value | None],
    metrics: Mapping[str, Metric],
    *,
    force: bool = False,
) -> tuple[Figure, ...]:
    """Return one figure for each metric of `generated` against `reference`.

    Metrics that need labels are left out where `generated` has none.

    Args:
        generated: features of generated images.
        reference: features of the images to compare with.
        truths: the value of each metric for real images, as `truths_of` returns it; none of those left out.
        metrics: those that read features of this extractor, by name.
        force: measure even fewer images than a metric takes.

    Raises:
        UserError: too few generated images for one of the metrics.
    """
    out = []
    for name, metric in metrics.items():
        if metric.labelled and not generated.labelled:
            continue
        value, truth = metric(generated, reference, force=force), truths.get(name)
        out.append(
            Figure(
                metric=name,
                estimate=value.estimate,
                spread=value.spread,
                real=truth.estimate if truth else None,
                per_class=value.per_class,
                per_class_n=value.per_class_n,
                real_per_class=truth.per_class if truth else None,
                split_std=value.split_std,
                groups=value.groups,
                n=value.n,
                real_n=truth.n if truth else None,
                real_spread=truth.spread if truth else None,
                version=metric.version,
            )
        )
    return tuple(out)


def truths_of(
    real: FeatureSet, reference: FeatureSet, metrics: Mapping[str, Metric], *, force: bool = False
) -> dict[str, Value | None]:
    """Return the value of each metric for real images: what a perfect generator would score.

    Args:
        real: features of images that are not among the reference, as many as were generated, of the same
            classes, or without labels where those are.
        reference: features of the images to compare with.
        metrics: by name; those that need labels are left out where `real` has none.
        force: measure even fewer images than a metric takes. Otherwise such a value is None.
    """
    values: dict[str, Value | None] = {}
    for name, metric in metrics.items():
        if metric.labelled and not real.labelled:
            continue
        try:
            values[name] = metric(real, reference, force=force)
        except UserError:  # too few real images, which must not cost the figure of the generated ones
            values[name] = None
    return values
