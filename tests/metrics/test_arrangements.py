import pytest
import torch

from triptych.metrics.features import FeatureSet, Need
from triptych.metrics.frechet import FrechetDistance
from triptych.metrics.frechet_infinity import FrechetInfinity
from triptych.metrics.inception_score import InceptionScore
from triptych.metrics.kernel_distance import KernelDistance
from triptych.metrics.manifold import Coverage, Density, Precision, Recall
from triptych.metrics.metric import Metric
from triptych.metrics.nearest import NearestReference

NAMED = "name", "inception"
METRICS = (
    FrechetDistance(*NAMED),
    FrechetInfinity(*NAMED),
    InceptionScore(*NAMED),
    KernelDistance(*NAMED, subsets=5, subset_size=50),
    Precision(*NAMED),
    Recall(*NAMED),
    Density(*NAMED),
    Coverage(*NAMED),
    NearestReference(*NAMED),
)
COUNT = 137


def collected(order: torch.Tensor, batch: int) -> FeatureSet:
    generator = torch.Generator().manual_seed(0)
    rows = 5 + torch.randn(COUNT, 6, generator=generator)
    scores = torch.randn(COUNT, 4, generator=generator).log_softmax(1)
    out = FeatureSet({Need("features", "rows"), Need("log_probs", "rows")})
    for index in order.split(batch):
        out.add({"features": rows[index], "log_probs": scores[index]}, index % 4, index)
    return out


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_batches_and_their_order_change_nothing(metric: Metric):
    rows = 5 + torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    reference = FeatureSet.of({"features": rows, "log_probs": rows}, torch.arange(200) % 4)
    shuffled = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    whole = metric(collected(torch.arange(COUNT), COUNT), reference)
    assert metric(collected(shuffled, 13), reference) == whole
    assert whole.spread is not None and whole.spread > 0
    assert len(whole.groups) == 10
