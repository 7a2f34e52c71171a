"""Metrics of sets of images: images -> features -> statistics -> metric.

A new metric is one file and one line in METRICS; a new extractor, one file and one line in
`triptych.metrics.extractors.EXTRACTORS`.
"""

from triptych.metrics.accuracy import LabelAccuracy
from triptych.metrics.diversity import PairDiversity
from triptych.metrics.frechet import FrechetDistance
from triptych.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    "fd_classifier": FrechetDistance("fd_classifier", "classifier"),
    "classifier_accuracy": LabelAccuracy("classifier_accuracy", "classifier"),
    "diversity_classifier": PairDiversity("diversity_classifier", "classifier"),
}
"""Every metric by the name that it has in the record."""
