"""Which figure is better, and whether two are told apart."""

import math

import pytest

from triptych.record.events import Figure
from triptych.record.verdict import loss, told_apart


def figure(estimate, spread=None, real=None):
    return Figure("some", estimate, spread, real)


@pytest.mark.parametrize(
    ("better", "best", "worst"),
    [
        ("lower", figure(1.0), figure(2.0)),
        ("higher", figure(2.0), figure(1.0)),
        ("real", figure(4.8, real=5.0), figure(5.3, real=5.0)),
    ],
)
def test_a_better_figure_has_a_lower_loss(better, best, worst):
    assert loss(best, better) < loss(worst, better)


@pytest.mark.parametrize(
    ("better", "unranked"),
    [("lower", figure(math.nan)), ("real", figure(1.0)), ("unknown", figure(1.0))],
)
def test_what_cannot_be_ranked_has_no_loss_and_is_told_from_nothing(better, unranked):
    assert loss(unranked, better) is None
    assert not told_apart(unranked, figure(9.0, real=1.0), better)


def test_two_standard_errors_of_the_difference_tell_apart():
    a = figure(1.0, spread=0.3)
    assert not told_apart(a, figure(1.99, spread=0.4), "lower")
    assert told_apart(a, figure(2.01, spread=0.4), "lower")
    assert told_apart(figure(2.01, spread=0.4), a, "higher")


def test_without_spread_any_difference_counts_and_equality_never():
    assert told_apart(figure(1.0), figure(1.001), "lower")
    assert not told_apart(figure(1.0), figure(1.0), "lower")
