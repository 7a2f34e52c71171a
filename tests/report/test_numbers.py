"""Figures are printed one way, and say what they should when read again."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.report.numbers import (
    count,
    duration,
    figure,
    giga,
    millions,
    moment,
    plain,
    scientific,
    uncertain,
    version,
)


def seconds_of(text: str) -> float:
    """Read a duration back."""
    hours, minutes, seconds = re.fullmatch(r"(?:(\d+)h )?(?:(\d+)m )?(\d+\.\d+)s", text).groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.000s"),
        (0.0434, "0.043s"),
        (0.9999, "1.0s"),
        (33, "33.0s"),
        (59.96, "1m 0.0s"),
        (3599.97, "1h 0m 0.0s"),
        (4653.02, "1h 17m 33.0s"),
        (1_304_193.02, "362h 16m 33.0s"),
        (math.nan, "?"),
        (-1.0, "?"),
    ],
)
def test_durations_have_one_form(seconds, text):
    assert duration(seconds) == text


@given(st.floats(0, 1e9))
def test_durations_read_back_to_within_their_last_digit(seconds):
    assert seconds_of(duration(seconds)) == pytest.approx(seconds, abs=0.0501 if seconds >= 1 else 0.000501)


@given(st.floats(0, 1e9))
def test_durations_never_show_sixty(seconds):
    assert not re.search(r"\b60(\.0)?[ms]", duration(seconds))


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (8.157, 3, "8.157"),
        (12.09, 3, "12.090"),
        (0.2276, 4, "0.2276"),
        (0.00123456, 3, "0.0012"),
        (0.0, 3, "0.000"),
        (-0.00004, 3, "-0.000040"),
        (math.nan, 3, "NaN"),
        (math.inf, 3, "∞"),
    ],
)
def test_figures_keep_their_decimals_but_never_vanish(value, decimals, text):
    assert figure(value, decimals) == text


@given(st.floats(1e-12, 1e6), st.integers(1, 5))
def test_figures_read_back_to_two_digits_or_their_decimals(value, decimals):
    assert float(figure(value, decimals)) == pytest.approx(value, rel=0.051, abs=0.51 * 10**-decimals)
    assert float(figure(value, decimals)) > 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "1e-4"), (2e-4, "2e-4"), (1.5e-3, "1.5e-3"), (0.1, "0.1"), (0, "0"), (3e-5, "3e-5")],
)
def test_learning_rates(value, text):
    assert scientific(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(350, "350"), (350.0, "350"), (1.4, "1.4"), (12.504, "12.5"), (0, "0"), (100, "100")]
)
def test_plain_numbers(value, text):
    assert plain(value) == text


def test_commits_are_cut_and_versions_are_not():
    assert version("commit", "0123456789abcdef0123+changes") == "0123456789ab+changes"
    assert version("platform", "Linux-6.18.44-x86_64") == "Linux-6.18.44-x86_64"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12_443_713_536, "12.4"),
        (118.3e9, "118"),
        (1_234_567e6, "1,230"),
        (9.999e9, "10.0"),
        (47_100_000, "0.0471"),
        (0, "0"),
    ],
)
def test_operations_have_three_digits(value, text):
    assert giga(value) == text


def test_counts_parameters_and_moments():
    assert count(50_000) == "50,000"
    assert (millions(35_746_307), millions(412_345), millions(999_700), millions(96)) == (
        "35.7M",
        "412k",
        "1.0M",
        "96",
    )
    assert moment(1_766_399_700.9) == "2025-12-22 10:35:00"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(8.157, 0.0213, "8.157 ± 0.021"), (8.157, None, "8.157"), (8.0, 0.0, "8.000 ± 0.000")],
)
def test_a_value_stands_before_its_standard_error(value, error, text):
    assert uncertain(value, error, 3) == text
