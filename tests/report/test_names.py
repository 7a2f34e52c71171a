"""What the report calls metrics, samplers and networks agrees with the parts that bear the names."""

import pytest

from triptych.backbones import BACKBONES
from triptych.metrics import METRICS
from triptych.report import names
from triptych.sampling import SAMPLERS, named_sampler


@pytest.mark.parametrize("key", METRICS)
def test_every_metric_has_a_name_and_the_right_direction(key):
    assert key in names.METRICS
    assert names.METRICS[key].better == METRICS[key].better


def test_the_metrics_of_memorisation_are_those_that_always_look_at_the_training_split():
    assert {key for key, metric in METRICS.items() if metric.memorisation} == names.MEMORISATION


def test_every_backbone_has_a_name():
    assert set(BACKBONES) <= set(names.BACKBONES)


@pytest.mark.parametrize("key", SAMPLERS)
def test_every_sampler_is_taken_apart_by_its_label(key):
    method, steps = names.sampler_parts(named_sampler(f"{key}:7,spacing=leading").label)
    assert method.endswith(", spacing=leading")
    assert steps == "7"


def test_an_unknown_metric_stands_for_itself():
    assert names.metric_name("novelty").label == "novelty"
    assert names.metric_name("novelty").better == "unknown"


@pytest.mark.parametrize(
    ("sampler", "parts"),
    [
        ("ddim:50", ("DDIM", "50")),
        ("ddpm:1000,variance=large", ("DDPM, variance=large", "1000")),
        ("ddim:50,eta=0.5,spacing=leading", ("DDIM, eta=0.5, spacing=leading", "50")),
        ("unheard", ("unheard", "")),
    ],
)
def test_samplers_are_taken_apart(sampler, parts):
    assert names.sampler_parts(sampler) == parts
