from dataclasses import replace

import pytest
import scipy.stats

from triptych.errors import UserError
from triptych.evaluation.agreement import agreement, rank_correlation
from triptych.evaluation.selection import (
    best_checkpoints,
    best_names,
    best_row,
    best_rows,
    best_settings,
    recorded,
)
from triptych.jackknife import jackknife_spread
from triptych.record.events import Device, Evaluated, Figure, Passport

PASSPORT = Passport(
    checkpoint="epoch-00001",
    epoch=1,
    weights="ema",
    sampler="ddim:50",
    guidance=1.0,
    clip=True,
    seed=0,
    count=360,
    reference="digits/train",
    reference_digest="r",
    reference_count=1442,
    extractors={"classifier": "e"},
    versions={},
    device=Device("cpu", 1, 1),
)


def row(checkpoint: str, guidance: float = 1.0, spread: float | None = 0.1, **estimates: float) -> Evaluated:
    epoch = float("abc".find(checkpoint) + 1)
    passport = replace(PASSPORT, checkpoint=checkpoint, epoch=epoch, guidance=guidance)
    made = tuple(Figure(name, estimate, spread, real=5.0) for name, estimate in estimates.items())
    return Evaluated(passport, made, 128, 50, 1.0, 1.0)


ROWS = [
    row("a", fd_classifier=3.0, classifier_accuracy=0.80, diversity_classifier=6.0),
    row("b", fd_classifier=1.0, classifier_accuracy=0.90, diversity_classifier=4.5),
    row("c", fd_classifier=2.0, classifier_accuracy=0.99, diversity_classifier=3.0),
]


def test_each_metric_has_its_own_direction():
    chosen = {name: best.row.passport.checkpoint for name, best in best_rows(ROWS).items()}
    assert chosen == {"fd_classifier": "b", "classifier_accuracy": "c", "diversity_classifier": "b"}


def test_rows_that_their_errors_do_not_tell_from_the_best_are_ties():
    near, far = row("near", fd_classifier=1.44), row("far", fd_classifier=1.47)  # t of 18, ten pairs: 3.197
    best = best_row([*ROWS, near, far], "fd_classifier")
    assert best.figure.estimate == 1.0
    assert best.ties == (near,)


def test_the_first_of_equals_wins_and_the_others_tie():
    rows = [row("x", spread=None, fd_classifier=1.0), row("y", spread=None, fd_classifier=1.0)]
    best = best_row(rows, "fd_classifier")
    assert best.row is rows[0]
    assert best.ties == (rows[1],)


def test_rows_that_lack_the_metric_are_passed_over():
    assert best_row([row("bare"), *ROWS], "fd_classifier").row is ROWS[1]
    with pytest.raises(UserError, match="no row has it"):
        best_row([row("bare")], "fd_classifier")


def test_metrics_that_nobody_knows_are_refused():
    with pytest.raises(UserError, match="choose from fid, "):
        best_row([row("a", speed=1.0)], "speed")


@pytest.mark.parametrize(
    "change",
    [
        {"count": 50},
        {"reference_digest": "x"},
        {"extractors": {"classifier": "x"}},
        {"held_out_digest": "x"},
    ],
)
def test_rows_that_were_measured_otherwise_are_not_compared(change: dict):
    other = replace(ROWS[0], passport=replace(PASSPORT, **change))
    with pytest.raises(UserError, match="they differ in reference set, held-out images, extractor"):
        best_row([*ROWS, other], "fd_classifier")


def test_figures_of_another_definition_are_neither_compared_nor_taken_from_the_record():
    older = replace(ROWS[0], figures=(replace(ROWS[0].figures[0], version=0),))
    with pytest.raises(UserError, match="definition"):
        best_row([older, ROWS[1]], "fd_classifier")
    assert recorded(ROWS, ROWS[0].passport, {"fd_classifier": "classifier"}) is not None
    assert recorded([older], ROWS[0].passport, {"fd_classifier": "classifier"}) is None


@pytest.mark.parametrize(
    ("x", "y"),
    [([1, 2, 3, 4], [2, 1, 4, 3]), ([1, 1, 2, 5, 5], [3, 1, 1, 2, 9]), ([0.1, 7, -3], [1, 2, 3])],
)
def test_rank_correlation_is_scipys(x: list[float], y: list[float]):
    assert rank_correlation(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)


def test_rank_correlation_of_too_little_is_undefined():
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None


def test_agreement_is_one_where_lower_mse_is_always_better():
    mse = {(1, "ema"): 0.3, (2, "ema"): 0.2, (3, "ema"): 0.1, (4, "ema"): 0.0, (1, "ema_long"): 0.0}
    assert agreement(ROWS, mse, "classifier_accuracy").correlation == pytest.approx(1)
    found = agreement(ROWS, mse, "fd_classifier")
    assert (found.checkpoints, found.correlation) == (3, pytest.approx(0.5))


def test_agreement_takes_the_best_row_of_each_checkpoint():
    rows = [*ROWS, row("a", guidance=2.0, fd_classifier=0.5)]
    mse = {(1, "ema"): 0.1, (2, "ema"): 0.2, (3, "ema"): 0.3}
    assert agreement(rows, mse, "fd_classifier").correlation == pytest.approx(1)


def few(made: Evaluated, count: int = 10) -> Evaluated:
    """The same of fewer images."""
    return replace(made, passport=replace(made.passport, count=count))


def test_names_of_the_best_are_those_of_most_images_by_each_metric():
    rows = [
        row("epoch-00001", fd_classifier=3.0, classifier_accuracy=0.9),
        row("epoch-00002", fd_classifier=2.0, classifier_accuracy=0.8, of_a_later_version=1.0),
        row("epoch-00003", fd_classifier=4.0, classifier_accuracy=0.7),
        few(row("epoch-00009", fd_classifier=0.1, fid=9.0)),
    ]
    names = {
        "best-fd-classifier": "epoch-00002",
        "best-classifier-accuracy": "epoch-00001",
        "best-fid": "epoch-00009",
    }
    assert best_names(rows) == {name: (checkpoint, "ema") for name, checkpoint in names.items()}
    assert best_checkpoints(rows) == set(names.values())
    assert best_checkpoints([]) == set()


def test_of_as_many_images_against_several_references_the_last_measured_name_the_best():
    other = [
        replace(made, passport=replace(made.passport, reference_digest="other"))
        for made in (row("a", fd_classifier=8.0), row("b", fd_classifier=9.0))
    ]
    assert best_names([*ROWS, *other])["best-fd-classifier"].checkpoint == "a"
    assert best_names([*other, *ROWS])["best-fd-classifier"].checkpoint == "b"


def test_what_was_measured_anew_counts_and_not_what_it_was_before():
    rows = [row("a", fd_classifier=1.0), row("b", fd_classifier=2.0), row("a", fd_classifier=3.0)]
    assert best_names(rows) == {"best-fd-classifier": ("b", "ema")}
    assert best_rows(rows)["fd_classifier"].row is rows[1]


def test_several_seeds_are_judged_by_their_mean():
    def seeded(name: str, seed: int, value: float) -> Evaluated:
        made = row(name, fd_classifier=value)
        return replace(made, passport=replace(made.passport, seed=seed))

    lucky = [seeded("a", 0, 1.0), seeded("a", 1, 5.0), seeded("b", 0, 2.0), seeded("b", 1, 2.5)]
    assert best_names(lucky) == {"best-fd-classifier": ("b", "ema")}
    best = best_row(lucky, "fd_classifier")
    assert (best.row, best.seeds) == (lucky[2], 2)
    assert [(other, found.verdict) for other, found in best.others] == [(lucky[0], "worse")]
    assert best.figure.estimate == 2.25
    assert best_settings(lucky, "fd_classifier") == [lucky[2], lucky[0]]


def test_means_over_seeds_are_compared_seed_by_seed():
    """Each seed has its own luck, which both settings share: the mean of differences tells them apart."""

    def noisy(name: str, worse_by: float, seed: int) -> Evaluated:
        groups = tuple(1.0 + seed + 0.1 * ((g * (seed + 1)) % 5) - worse_by for g in range(10))
        made = row(name, fd_classifier=1.2 + seed - worse_by)
        figure = replace(made.figures[0], spread=jackknife_spread(groups), groups=groups)
        return replace(made, figures=(figure,), passport=replace(made.passport, seed=seed))

    rows = [noisy(name, better, seed) for name, better in (("a", 0.0), ("b", 0.05)) for seed in (0, 1, 2)]
    best = best_row(rows, "fd_classifier")
    assert (best.row, best.seeds, best.worse, best.ties) == (rows[3], 3, (rows[0],), ())
    unlike = best_row(
        [*rows[:3], replace(rows[4], passport=replace(rows[4].passport, seed=9))], "fd_classifier"
    )
    assert unlike.row.passport.checkpoint == "a" or len(unlike.ties) == 1


def test_a_name_of_the_best_says_which_average_it_was():
    rows = [row("a", fd_classifier=2.0), row("a", fd_classifier=1.0), row("b", fd_classifier=1.5)]
    rows[1] = replace(rows[1], passport=replace(rows[1].passport, weights="ema_long"))
    assert best_names(rows) == {"best-fd-classifier": ("a", "ema_long")}


def test_rows_of_weights_that_were_written_anew_are_not_in_the_record():
    old = row("a", fd_classifier=3.0)
    wanted = {"fd_classifier": "classifier"}
    passport = replace(old.passport, weights_digest="1" * 64)
    assert recorded([old], passport, wanted) is not None  # of a version that did not say which they were
    named = replace(old, passport=passport)
    assert recorded([named], passport, wanted) is not None
    assert recorded([named], replace(passport, weights_digest="2" * 64), wanted) is None


def test_paired_rows_are_told_apart_by_less_than_rows_of_other_noise():
    groups = tuple(1.0 + 0.1 * (g % 5) for g in range(10))
    spread = jackknife_spread(groups)

    def noisy(name: str, better_by: float, seed: int) -> Evaluated:
        made = row(name, fd_classifier=1.2 - better_by)
        figure = replace(made.figures[0], spread=spread, groups=tuple(g - better_by for g in groups))
        return replace(made, figures=(figure,), passport=replace(made.passport, seed=seed))

    best = best_row([noisy("a", 0.0, 0), noisy("b", 0.05, 0)], "fd_classifier")
    assert (best.row.passport.checkpoint, best.ties) == ("b", ())
    assert len(best_row([noisy("a", 0.0, 1), noisy("b", 0.05, 0)], "fd_classifier").ties) == 1


def test_a_row_is_in_the_record_when_all_of_its_figures_are_be_it_in_several_events():
    both = replace(PASSPORT, extractors={"classifier": "e", "inception": "i"})
    wanted = {"fid": "inception", "fd_classifier": "classifier"}
    one = replace(row("a", fd_classifier=3.0), passport=PASSPORT)
    newer = replace(row("a", fd_classifier=2.0), passport=PASSPORT)
    other = replace(row("a", fid=9.0), passport=replace(PASSPORT, extractors={"inception": "i"}))
    found = recorded([one, other, newer], both, wanted)
    assert found is not None
    assert [(figure.metric, figure.estimate) for figure in found.figures] == [
        ("fid", 9.0),
        ("fd_classifier", 2.0),
    ]
    assert found.passport == both
    assert recorded([one], both, wanted) is None
    assert recorded([one, few(other)], both, wanted) is None
    assert (
        recorded([one, other], replace(both, extractors=both.extractors | {"inception": "x"}), wanted) is None
    )
