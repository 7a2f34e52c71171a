"""Metrics of sets of images: images -> features -> statistics -> metric.

A new metric is one file and one line in METRICS; a new extractor, one file and one line in
`triptych.metrics.extractors.EXTRACTORS`.
"""

from collections.abc import Iterable

from triptych.errors import UserError, perhaps
from triptych.metrics.accuracy import LabelAccuracy
from triptych.metrics.diversity import ClassDiversity, OverallDiversity
from triptych.metrics.frechet import FrechetDistance
from triptych.metrics.frechet_infinity import FrechetInfinity
from triptych.metrics.inception_score import InceptionScore
from triptych.metrics.kernel_distance import KernelDistance
from triptych.metrics.manifold import Coverage, Density, Precision, Recall
from triptych.metrics.metric import Metric
from triptych.metrics.nearest import NearestReference

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        FrechetDistance("fid", "inception"),
        FrechetInfinity("fid_infinity", "inception"),
        InceptionScore("inception_score", "inception", "log_probs"),
        KernelDistance("kid", "inception"),
        Precision("precision", "inception"),
        Recall("recall", "inception"),
        Density("density", "inception"),
        Coverage("coverage", "inception"),
        NearestReference("nearest", "inception"),
        ClassDiversity("lpips_diversity", "lpips", "lpips", squared=True),
        OverallDiversity("lpips_diversity_all", "lpips", "lpips", squared=True),
        ClassDiversity("lpips_vgg_diversity", "lpips_vgg", "lpips", squared=True),
        OverallDiversity("lpips_vgg_diversity_all", "lpips_vgg", "lpips", squared=True),
        FrechetDistance("fd_dinov2", "dinov2"),
        FrechetDistance("fd_classifier", "classifier"),
        LabelAccuracy("classifier_accuracy", "classifier", "log_probs"),
        ClassDiversity("diversity_classifier", "classifier"),
        OverallDiversity("diversity_classifier_all", "classifier"),
        Precision("precision_classifier", "classifier"),
        Recall("recall_classifier", "classifier"),
        NearestReference("nearest_classifier", "classifier"),
    )
}
"""Every metric by the name that it has in the record."""


def named_metrics(names: Iterable[str]) -> dict[str, Metric]:
    """Return metrics by name, in the order named; the name of an extractor stands for all of its metrics.

    Raises:
        UserError: there is no such metric, or none is named.
    """
    found: dict[str, Metric] = {}
    for name in names:
        mine = {key: metric for key, metric in METRICS.items() if name in (key, metric.extractor)}
        if not mine:
            extractors = dict.fromkeys(metric.extractor for metric in METRICS.values())
            remedy = perhaps(name.replace("-", "_"), [*METRICS, *extractors])
            raise UserError(f"measure {name}", "there is no such metric", remedy)
        found |= mine
    if not found:
        raise UserError("measure images", "no metric is named", f"name one of {', '.join(METRICS)}")
    return found
