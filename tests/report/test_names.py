"""What the report calls metrics, samplers and networks agrees with the parts that bear the names."""

import pytest

from triptych.backbones import BACKBONES
from triptych.metrics import METRICS
from triptych.report import names
from triptych.sampling import SAMPLERS


@pytest.mark.parametrize("key", METRICS)
def test_every_metric_has_a_name_and_the_right_direction(key):
    assert key in names.METRICS
    assert names.METRICS[key].better == METRICS[key].better


def test_every_backbone_and_sampler_has_a_name():
    assert set(BACKBONES) <= set(names.BACKBONES)
    assert set(SAMPLERS) <= set(names.SAMPLERS)


def test_an_unknown_metric_stands_for_itself():
    assert names.metric_name("novelty").label == "novelty"
    assert names.metric_name("novelty").better == "unknown"


@pytest.mark.parametrize(
    ("sampler", "parts"),
    [
        ("ddim:50", ("DDIM", "50")),
        ("ddpm:1000,large", ("DDPM, large", "1000")),
        ("ddim:50,eta=0.5,leading", ("DDIM, eta=0.5, leading", "50")),
        ("unheard", ("unheard", "")),
    ],
)
def test_samplers_are_taken_apart(sampler, parts):
    assert names.sampler_parts(sampler) == parts
