import math

import pytest
import torch
from torch import Tensor
from torchmetrics.image.inception import InceptionScore as TheirScore

from triptych.errors import UserError
from triptych.metrics.features import FeatureSet
from triptych.metrics.inception_score import InceptionScore

SCORE = InceptionScore("inception_score", "inception")


def predicted(log_probs: Tensor) -> FeatureSet:
    return FeatureSet.of({"log_probs": log_probs.float()}, None)


def measured(log_probs: Tensor, metric: InceptionScore = SCORE):
    images = predicted(log_probs)
    return metric(images, images)


def logits(count: int, classes: int, seed: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


def slow_score(log_probs: Tensor) -> float:
    """Follow the definition, image by image."""
    p = log_probs.double().exp()
    marginal = p.mean(0)
    return math.exp(sum(float((q * (q / marginal).log()).sum()) for q in p) / len(p))


def test_one_prediction_for_all_images_scores_one():
    value = measured(logits(1, 10, 0).log_softmax(1).expand(500, 10))
    assert value.estimate == pytest.approx(1, abs=1e-12)
    assert value.spread == pytest.approx(0, abs=1e-12)
    assert value.split_std == pytest.approx(0, abs=1e-12)


def test_certain_predictions_of_all_classes_alike_score_their_number():
    certain = torch.eye(8).log().repeat(400, 1)  # log 0 is minus infinity
    assert measured(certain, InceptionScore("is", "inception", splits=1)).estimate == pytest.approx(8)
    assert 7.9 < measured(certain).estimate < 8  # splits are not balanced to the last image


def test_score_of_one_split_follows_the_definition():
    log_probs = logits(300, 12, 1).log_softmax(1)
    value = measured(log_probs, InceptionScore("is", "inception", splits=1))
    assert value.estimate == pytest.approx(slow_score(log_probs), rel=1e-10)
    assert value.split_std == 0


def test_agrees_with_torchmetrics():
    class Flat(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).double() / 40

    images = torch.randint(0, 256, (300, 3, 2, 2), generator=torch.Generator().manual_seed(0)).byte()
    with pytest.warns(UserWarning, match="save all extracted features"):
        theirs = TheirScore(feature=Flat(), splits=1)
    theirs.update(images)
    with pytest.warns(UserWarning, match="degrees of freedom"):  # of the deviation of one split
        expected = float(theirs.compute()[0])
    ours = measured((images.flatten(1).double() / 40).log_softmax(1), InceptionScore("is", "i", splits=1))
    assert ours.estimate == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("count", [1000, 1003])
def test_splits_cut_the_shuffled_order_into_equal_parts(count: int):
    metric = InceptionScore("is", "inception", splits=4, seed=3)
    log_probs = logits(count, 5, 2).log_softmax(1)
    value = measured(log_probs, metric)
    again = measured(log_probs, metric)
    assert (value.estimate, value.split_std) == (again.estimate, again.split_std)
    other = measured(log_probs, InceptionScore("is", "inception", splits=4, seed=4))
    assert value.estimate != other.estimate
    assert value.estimate == pytest.approx(other.estimate, rel=0.02)


def test_deviation_over_splits_is_divided_by_their_number():
    # Two splits of two images each: whichever way they fall, the scores can be told.
    log_probs = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]).log()
    images = predicted(log_probs)
    value = InceptionScore("is", "inception", splits=2)(images, images, force=True)
    pairings = [([0, 1], [2, 3]), ([0, 2], [1, 3]), ([0, 3], [1, 2])]
    scores = [[slow_score(log_probs[list(part)]) for part in parts] for parts in pairings]
    assert any(
        value.estimate == pytest.approx((a + b) / 2) and value.split_std == pytest.approx(abs(a - b) / 2)
        for a, b in scores
    )


def test_spread_is_the_scatter_of_repeated_measurements():
    values = [measured(logits(600, 4, seed).log_softmax(1)) for seed in range(80)]
    scatter = float(torch.tensor([v.estimate for v in values]).std())
    claimed = math.sqrt(sum(v.spread**2 for v in values) / len(values))
    assert claimed == pytest.approx(scatter, rel=0.4)


def test_jackknife_figures_are_those_of_the_images_that_are_left():
    log_probs = logits(400, 6, 5).log_softmax(1)
    images = predicted(log_probs)
    value = InceptionScore("is", "inception", splits=1)(images, images)
    kept = log_probs[images.group != 7]
    assert value.groups[7] == pytest.approx(slow_score(kept), rel=1e-10)


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match="at least 40"):
        measured(logits(39, 4, 0).log_softmax(1))
    SCORE.check_count(1000, lambda name: 1008)
    with pytest.raises(UserError, match="at least 1000"):
        SCORE.check_count(999, lambda name: 1008)
    images = predicted(logits(3, 4, 0).log_softmax(1))
    assert math.isfinite(SCORE(images, images, force=True).estimate)
