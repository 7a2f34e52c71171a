import math

import pytest
import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.metrics.accuracy import LabelAccuracy
from triptych.metrics.features import FeatureSet

ACCURACY = LabelAccuracy("classifier_accuracy", "classifier")


def predicted(classes: Tensor, labels: Tensor | None, count: int = 4) -> FeatureSet:
    out = FeatureSet({ACCURACY.feature})
    scores = torch.nn.functional.one_hot(classes, count).float().log_softmax(1)
    out.add({"log_probs": scores}, labels, torch.arange(len(classes)))
    return out


def test_share_of_images_that_show_the_class_asked_for():
    labels = torch.arange(40) % 4
    classes = labels.clone()
    classes[labels == 3] = 0
    classes[1] = 2
    value = ACCURACY(predicted(classes, labels), predicted(labels, labels))
    assert value.estimate == 29 / 40
    assert value.per_class == (1.0, 0.9, 1.0, 0.0)
    assert value.per_class_n == (10, 10, 10, 10)
    assert value.n == 40


def test_all_right_is_certain():
    labels = torch.arange(30) % 4
    value = ACCURACY(predicted(labels, labels), predicted(labels, labels))
    assert (value.estimate, value.spread) == (1.0, 0.0)


def test_spread_is_the_binomial_standard_error():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(500) % 4
    variance = 0.0
    for _ in range(200):
        wrong = torch.rand(500, generator=generator) < 0.3
        variance += ACCURACY(predicted((labels + wrong) % 4, labels), predicted(labels, labels)).spread ** 2
    assert math.sqrt(variance / 200) == pytest.approx(math.sqrt(0.3 * 0.7 / 500), rel=0.1)


def test_images_without_labels_are_refused():
    labels = torch.arange(8) % 4
    with pytest.raises(UserError, match="without labels"):
        ACCURACY(predicted(labels, None), predicted(labels, labels))
