"""Which figure is better, and whether two are told apart."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import scipy.stats

from triptych.record.figures import Device, Figure, Passport
from triptych.record.verdict import Verdict, compare, loss, paired, pairs, pooled

PASSPORT = Passport(
    checkpoint="epoch-00100",
    epoch=100.0,
    weights="ema",
    sampler="ddim:50",
    guidance=1.5,
    clip=True,
    seed=0,
    count=1000,
    reference="digits/train",
    reference_digest="r",
    reference_count=1442,
    versions={},
    device=Device("cpu", 1, 1),
)
GROUPS = 10


def figure(estimate, spread=None, real=None, groups=()):
    return Figure("some", estimate, spread, real, groups=tuple(groups))


def figure_of_mean(x: np.ndarray, real: float | None = None) -> Figure:
    """Return the mean of [G] equal groups as a metric would, with its jackknife."""
    left_out = [float(np.delete(x, g).mean()) for g in range(len(x))]
    return figure(float(x.mean()), float(x.std(ddof=1)) / math.sqrt(len(x)), real, left_out)


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
def test_what_cannot_be_ranked_has_no_loss_and_no_verdict(better, unranked):
    ranked = figure(9.0, 0.1, real=1.0)
    assert loss(unranked, better) is None
    assert compare(unranked, ranked, better, paired=True) is None
    assert compare(ranked, unranked, better, paired=True) is None


@pytest.mark.parametrize("better", ["lower", "higher", "real"])
@pytest.mark.parametrize("pairs", [True, False])
def test_the_verdict_on_means_is_that_of_the_t_test(better, pairs):
    draws = np.random.default_rng(0)
    verdicts = set()
    for _ in range(300):
        noise = draws.standard_normal(GROUPS)
        x = noise + draws.standard_normal(GROUPS)
        y = noise * draws.uniform(0, 3) + draws.standard_normal(GROUPS) + draws.uniform(-2, 2)
        a, b = figure_of_mean(x, real=-9.0), figure_of_mean(y, real=-9.0)
        test = scipy.stats.ttest_rel(x, y) if pairs else scipy.stats.ttest_ind(x, y, equal_var=False)
        found = compare(a, b, better, paired=pairs)
        sign = -1 if better == "higher" else 1
        assert found.difference / found.error == pytest.approx(sign * test.statistic)
        assert (found.degrees, found.paired) == (pytest.approx(test.df), pairs)
        assert (found.verdict != "not distinguishable") == (test.pvalue < 0.05)
        verdicts.add(found.verdict)
    assert verdicts == set(get_args(Verdict))


def test_alike_figures_pass_for_unlike_in_one_of_twenty():
    draws, repeats = np.random.default_rng(1), 4000
    wrong = 0
    for _ in range(repeats):
        noise = 5 * draws.standard_normal(GROUPS)
        a, b = (figure_of_mean(noise + draws.standard_normal(GROUPS)) for _ in range(2))
        wrong += compare(a, b, "lower", paired=True).verdict != "not distinguishable"
    assert wrong / repeats == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / repeats))


def test_the_verdict_among_many_is_bonferronis():
    draws, repeats, comparisons = np.random.default_rng(8), 500, 10
    corrected = by_themselves = 0
    for _ in range(repeats):
        found = [
            compare(*(figure_of_mean(draws.standard_normal(GROUPS)) for _ in "ab"), "lower", paired=True)
            for _ in range(comparisons)
        ]
        p_values = [2 * scipy.stats.t.sf(abs(one.difference) / one.error, one.degrees) for one in found]
        told = [one.verdict_among(comparisons) != "not distinguishable" for one in found]
        assert told == [p < 0.05 / comparisons for p in p_values]
        corrected += any(told)
        by_themselves += any(one.verdict != "not distinguishable" for one in found)
    assert corrected / repeats < 0.05 + 4 * math.sqrt(0.05 * 0.95 / repeats)
    assert by_themselves / repeats > 0.3


@pytest.mark.parametrize("count", [2, 6, 24])
def test_in_a_table_of_rows_alike_hardly_one_is_worse_than_the_best(count):
    """The best is chosen from the figures; noise that rows share is most of it, as in a sweep."""
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        shared = random.normal(size=GROUPS)
        rows = [figure_of_mean(2 * shared + random.normal(size=GROUPS)) for _ in range(count)]
        best = min(rows, key=lambda row: row.estimate)
        others = [compare(row, best, "lower", paired=True) for row in rows if row is not best]
        wrong += any(found.verdict_among(pairs(count)) == "worse" for found in others)
    assert wrong <= 0.05 * 300 + 3 * math.sqrt(0.05 * 0.95 * 300)


def test_common_noise_cancels_where_figures_are_paired():
    draws = np.random.default_rng(2)
    noise = 100 * draws.standard_normal(GROUPS)
    a, b = (figure_of_mean(noise + shift + 0.1 * draws.standard_normal(GROUPS)) for shift in (0, 1))
    apart = compare(a, b, "lower", paired=False)
    together = compare(a, b, "lower", paired=True)
    assert apart.difference == together.difference
    assert (apart.verdict, together.verdict) == ("not distinguishable", "better")
    assert together.error < 0.2 < 20 < apart.error


@pytest.mark.parametrize("better", ["lower", "higher", "real"])
@pytest.mark.parametrize("pairs", [True, False])
def test_a_verdict_read_from_the_other_side_is_the_opposite(better, pairs):
    draws = np.random.default_rng(3)
    opposite = {"better": "worse", "worse": "better", "not distinguishable": "not distinguishable"}
    seen = set()
    for _ in range(60):
        a, b = (figure_of_mean(draws.standard_normal(GROUPS) + draws.uniform(-2, 2), real=0) for _ in "ab")
        one, other = compare(a, b, better, paired=pairs), compare(b, a, better, paired=pairs)
        assert (one.difference, one.error) == (-other.difference, pytest.approx(other.error))
        assert opposite[one.verdict] == other.verdict
        seen.add(one.verdict)
    assert seen == set(get_args(Verdict))


def test_a_figure_as_good_as_real_scatters_as_much_as_any_other():
    x = np.random.default_rng(4).standard_normal(GROUPS)
    a = figure_of_mean(x - x.mean(), real=0.0)
    b = figure(7.0, 0.0, 0.0, [7.0] * GROUPS)
    assert compare(a, b, "real", paired=True).error == pytest.approx(a.spread)


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize(("y", "apart"), [(-1.0, True), (0.5, False), (0.0, False)])
def test_the_error_of_the_real_figure_counts_between_its_two_sides_alone(pairs, y, apart):
    """On opposite sides the difference of losses is a + b - 2 real, on one side a - b."""
    x = np.random.default_rng(6).standard_normal((2, GROUPS))
    x -= x.mean(axis=1, keepdims=True)
    a, b = figure_of_mean(x[0] + 1.0, real=0.0), figure_of_mean(x[1] + y + 1e-9, real=0.0)
    plain = compare(a, b, "real", paired=pairs)
    known = compare(*(replace(side, real_spread=0.3) for side in (a, b)), "real", paired=pairs)
    assert known.difference == plain.difference
    assert known.error == pytest.approx(math.hypot(plain.error, 0.6 if apart else 0.0))
    shares = (plain.error**2, plain.degrees), (0.6**2 if apart else 0.0, GROUPS - 1)
    satterthwaite = sum(v for v, _ in shares) ** 2 / sum(v**2 / d for v, d in shares)
    assert known.degrees == pytest.approx(satterthwaite)


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_the_error_of_the_real_figure_is_nothing_to_what_is_not_held_against_it(better):
    a, b = (figure_of_mean(np.arange(10.0) + shift, real=6.0) for shift in (0, 3))
    known = [replace(side, real_spread=9.0) for side in (a, b)]
    assert compare(*known, better, paired=True) == compare(a, b, better, paired=True)


@pytest.mark.parametrize("pairs", [True, False])
def test_figures_equally_far_from_real_on_either_side_pass_for_unlike_in_one_of_twenty(pairs):
    """Images of the real set scatter twice as much as generated ones, and both figures share them."""
    draws, repeats = np.random.default_rng(7), 1000
    wrong = careless = 0
    for _ in range(repeats):
        real = figure_of_mean(2 * draws.standard_normal(GROUPS))
        a, b = (
            replace(
                figure_of_mean(draws.standard_normal(GROUPS) + side, real=real.estimate),
                real_spread=real.spread,
            )
            for side in (9, -9)
        )
        wrong += compare(a, b, "real", paired=pairs).verdict != "not distinguishable"
        older = [replace(side, real_spread=None) for side in (a, b)]
        careless += compare(*older, "real", paired=pairs).verdict != "not distinguishable"
    # Satterthwaite's degrees are approximate.
    assert wrong / repeats == pytest.approx(0.05, abs=0.01 + 4 * math.sqrt(0.05 * 0.95 / repeats))
    assert careless / repeats > 0.3


@pytest.mark.parametrize("better", ["lower", "higher", "real"])
def test_equal_figures_are_not_distinguishable(better):
    same = figure_of_mean(np.arange(10.0), real=3.0)
    found = compare(same, same, better, paired=True)
    assert (found.difference, found.error, found.verdict) == (0.0, 0.0, "not distinguishable")


def test_a_difference_whose_error_nobody_knows_tells_nothing():
    known = figure(1.0, 0.1)
    for a, b in ((figure(1.0), figure(9.0)), (known, figure(9.0)), (figure(9.0), known)):
        found = compare(a, b, "lower", paired=True)
        assert (found.error, found.verdict) == (None, "not distinguishable")
        assert abs(found.difference) == 8.0


@pytest.mark.parametrize("groups", [(), (1.0,), (1.0, 2.0, 3.0), (1.0, math.inf) * 5, (math.nan,) * 10])
def test_figures_whose_groups_do_not_match_are_compared_as_independent(groups):
    a, b = figure(1.0, 0.3, groups=range(10)), figure(3.0, 0.4, groups=groups if len(groups) > 1 else ())
    found = compare(a, b, "lower", paired=True)
    assert not found.paired
    assert found.error == pytest.approx(0.5)


def test_figures_of_older_records_have_the_degrees_of_ten_groups():
    assert compare(figure(1.0, 0.3), figure(1.0, 0.3), "lower", paired=False).degrees == pytest.approx(18)


def test_an_infinite_figure_is_the_worst():
    found = compare(figure(math.inf, math.nan), figure(1.0, 0.1), "lower", paired=True)
    assert (found.difference, found.verdict) == (math.inf, "not distinguishable")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"sampler": "heun:18", "checkpoint": "epoch-00050", "weights": "raw", "guidance": 4.0}, True),
        ({"extractors": {"inception": "i"}, "precision": "bf16"}, True),
        ({"seed": 1}, False),
        ({"count": 500}, False),
        ({"reference_digest": "s"}, False),
        ({"guidance": 0.0, "told_class": False}, False),
        ({"guidance": 2.0, "guide": "cfg,against=epoch-00010"}, True),
    ],
)
def test_rows_are_paired_where_image_j_of_both_is_of_one_noise_and_one_class(change, same):
    other = replace(PASSPORT, **change)
    assert paired(PASSPORT, other) is paired(other, PASSPORT) is same
    assert paired(other, other)


def test_pooled_runs_have_the_verdict_of_welchs_test():
    draws = np.random.default_rng(5)
    verdicts = set()
    for _ in range(200):
        a = draws.standard_normal(draws.integers(2, 6)) * draws.uniform(0.1, 2)
        b = draws.standard_normal(draws.integers(2, 6)) + draws.uniform(-3, 3)
        test, found = scipy.stats.ttest_ind(a, b, equal_var=False), pooled(a, b)
        assert found.difference / found.error == pytest.approx(test.statistic)
        assert found.degrees == pytest.approx(test.df)
        assert (found.verdict != "not distinguishable") == (test.pvalue < 0.05)
        verdicts.add(found.verdict)
    assert verdicts == set(get_args(Verdict))


def test_one_run_says_nothing_of_training_seeds():
    assert pooled([1.0], [2.0, 2.1]) is None
    assert pooled([1.0, 1.1], [2.0]) is None
