"""Figures as text, and what grows as a power of a size."""

import math

import pytest
import torch

from benchmarks.comparison import Comparison
from benchmarks.growth import slopes
from benchmarks.measure import Result, Row, largest_difference
from benchmarks.pairs import Interval, Ratio, Spread
from benchmarks.table import RATIO, figure, of_result, of_series

BASE = Row("base", milliseconds=Spread(100.0, 90.0, 110.0), times=[100.0])
OTHER = Row(
    "other",
    note="of whom something is known",
    facts={"M parameters": 32.5},
    milliseconds=Spread(12.34, 12.0, 13.0),
    ratio=Ratio(0.1234, Interval(0.1201, 0.1299, 0.96)),
    difference=2e-7,
    extra_bytes=3 * 2**20,
    times=[12.34],
)


def result(rows, size=0, series=""):
    comparison = Comparison("a title", 256, 16, "base", {}, series=series, axis="tokens", size=size)
    return Result(comparison, 12, rows)


def test_a_comparison_says_its_sizes_and_every_figure():
    head, *lines = of_result(result([BASE, OTHER, Row("gone", absent="it left")])).splitlines()
    assert head == "a title: batch 16, float32, 12 rounds after 1; ratios to base"
    titles, base, other, *remarks = lines
    assert len(titles) == len(base) == len(other)
    assert other.split("  ")[1] == "other"
    for figure_ in ("12.3", "12.0 .. 13.0", "0.123", "0.120 .. 0.130", "2e-07", "3.00", "32.5"):
        assert figure_ in other
    assert remarks == [RATIO, "  gone: absent (it left)", "  other: of whom something is known"]


def test_a_ratio_is_explained_where_there_is_one():
    assert RATIO in of_result(result([BASE, OTHER])).splitlines()
    assert RATIO not in of_result(result([BASE])).splitlines()


def test_few_rounds_are_said_to_be_too_few():
    row = Row("other", milliseconds=OTHER.milliseconds, ratio=Ratio(0.5, None), times=[1.0])
    assert "too few rounds" in of_result(result([BASE, row]))


def test_one_remark_on_several_is_made_once():
    rows = [BASE, Row("one", absent="it left"), Row("two", absent="it left")]
    assert of_result(result(rows)).splitlines()[-1] == "  one | two: absent (it left)"


def test_memory_that_grows_with_the_square_is_told_from_memory_that_grows_evenly():
    results = [
        result(
            [Row("even", extra_bytes=5 * n), Row("square", extra_bytes=n * n), Row("gone", absent="it left")],
            n,
            "memory",
        )
        for n in (1024, 2048, 4096)
    ]
    (series,) = slopes([result([BASE]), *results])
    assert series.quantity == "extra MiB"
    assert series.powers == pytest.approx({"even": 1, "square": 2})
    text = of_series(series)
    assert "1024" in text
    assert text.splitlines()[-1] == "  gone: absent (it left)"


def test_time_has_a_power_of_its_own():
    results = [
        result([Row("root", milliseconds=Spread(n**0.5, 0, 0), extra_bytes=n)], n, "both")
        for n in (4, 16, 64)
    ]
    time, memory = slopes(results)
    assert (time.quantity, time.powers["root"]) == ("median ms", pytest.approx(0.5))
    assert (memory.quantity, memory.powers["root"]) == ("extra MiB", pytest.approx(1))
    assert "median ms by tokens" in of_series(time)


def test_differences_are_relative_and_what_is_no_number_is_not_passed_over():
    expected = [torch.tensor([4.0, -8.0]), torch.tensor([0.5])]
    assert largest_difference([torch.tensor([4.0, -6.0]), torch.tensor([0.5])], expected) == 0.25
    assert math.isnan(largest_difference([torch.tensor([4.0, -6.0]), torch.tensor([math.nan])], expected))


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1234"), (12.34, "12.3"), (1.234, "1.23"), (0.05, "0.05")]
)
def test_figures_have_about_three_digits(value, text):
    assert figure(value) == text
