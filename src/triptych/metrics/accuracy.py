"""How often a classifier sees in a generated image the class that was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.metrics.features import FeatureSet
from triptych.metrics.metric import Metric, Value, by_class, with_spread


@dataclass(frozen=True)
class LabelAccuracy(Metric):
    """Share of generated images, 0..1, whose most probable class is the one that was asked for.

    It rises with the guidance scale even where the images grow worse, and cannot pass for a measure of
    quality alone. The value for real images says how often the classifier itself is right.
    """

    better = "higher"
    labelled = True
    compares = False
    feature: str = "log_probs"

    def value(self, generated: FeatureSet, reference: FeatureSet) -> Value:
        """Return the share, its jackknife spread, and the share within each class."""
        labels = generated.labels
        right = (generated.rows(self.feature).argmax(1) == labels).double()
        group = generated.group
        groups = generated.groups
        left_out = [float(right[group != g].mean()) for g in groups] if len(groups) > 1 else []
        classes = by_class(generated, reference, 1, lambda label: float(right[labels == label].mean()))
        return with_spread(float(right.mean()), left_out, len(right), classes)
