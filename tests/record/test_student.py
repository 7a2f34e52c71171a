"""Student's t, and the degrees of freedom of a difference."""

import pytest
import scipy.stats

from triptych.record.student import critical_value, welch_degrees


@pytest.mark.parametrize("degrees", [1, 1.01, 1.5, 2, 3.7, 9, 10.4, 18, 200, 1e5])
def test_the_critical_value_is_scipys(degrees):
    assert critical_value(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=1e-8)


@pytest.mark.parametrize("degrees", [1, 1.5, 2, 9, 10.4, 18, 1e5])
@pytest.mark.parametrize("comparisons", [0.1, 2, 19, 1000])
def test_the_critical_value_of_many_comparisons_is_scipys(degrees, comparisons):
    share = 0.05 / comparisons
    expected = scipy.stats.t.ppf(1 - share / 2, degrees)
    assert critical_value(degrees, 1 - share) == pytest.approx(expected, rel=1e-7)


def test_two_errors_alike_have_all_their_degrees_together_and_one_that_dominates_its_own():
    assert welch_degrees(0.3, 9, 0.3, 9) == pytest.approx(18)
    assert welch_degrees(0.3, 9, 0.3e-9, 4) == pytest.approx(9)
    assert welch_degrees(0.0, 9, 0.0, 4) == 13
