"""Which evaluations are one row, and which rows stand in one table."""

import random
from dataclasses import replace

import pytest
from report.synthetic_run import RunWriter, fid, inception_score, jackknifed

from triptych.record.figures import Figure
from triptych.report.rows import Row, compared, groups, headline, metrics_of, rows_of, surprise
from triptych.report.run import Run

INCEPTION, CLASSIFIER, LPIPS = {"inception": "i"}, {"classifier": "c"}, {"lpips": "l"}


def accuracy(estimate: float) -> Figure:
    return Figure("classifier_accuracy", estimate, 0.01, 0.9)


def diversity(estimate: float) -> Figure:
    return Figure("lpips_diversity", estimate, 0.01, 0.2)


@pytest.fixture
def run(tmp_path) -> RunWriter:
    return RunWriter(tmp_path / "run", epochs=200)


def rows(run: RunWriter) -> list[Row]:
    return rows_of(Run.read(run.folder, run.folder.parent), "Model")


def estimates(row: Row) -> dict[str, float]:
    return {name: figure.estimate for name, figure in row.figures.items()}


def test_evaluations_of_the_same_images_by_unlike_networks_are_one_row(run):
    run.evaluate(100, (accuracy(0.5),), extractors=CLASSIFIER, took=10)
    run.evaluate(100, (fid(9.0), diversity(0.1)), extractors=INCEPTION | LPIPS, took=20)
    (row,) = rows(run)
    assert estimates(row) == {"classifier_accuracy": 0.5, "fid": 9.0, "lpips_diversity": 0.1}
    assert row.extractors == CLASSIFIER | INCEPTION | LPIPS
    assert row.seconds_per_image == 20 / 10_000


def test_the_newest_figure_of_each_metric_holds(run):
    run.evaluate(100, (fid(9.0), inception_score(8.0, 0.1)), extractors=INCEPTION)
    run.evaluate(100, (accuracy(0.5),), extractors=CLASSIFIER)
    run.evaluate(100, (fid(7.0), accuracy(0.6)), extractors=INCEPTION | CLASSIFIER)
    (row,) = rows(run)
    assert estimates(row) == {"fid": 7.0, "inception_score": 8.0, "classifier_accuracy": 0.6}


@pytest.mark.parametrize(
    "change",
    [
        {"guidance": 1.8},
        {"sampler": "ddim:20"},
        {"weights": "raw"},
        {"seed": 1},
        {"clip": False},
        {"precision": "bf16"},
        {"count": 5_000},
        {"reference_digest": "x"},
        {"held_out_digest": "x"},
    ],
)
def test_other_images_and_other_real_ones_are_other_rows(run, change):
    run.evaluate(100, (accuracy(0.5),), extractors=CLASSIFIER)
    run.evaluate(100, (fid(9.0),), extractors=INCEPTION, **change)
    assert [list(row.figures) for row in rows(run)].count(["fid"]) == 1
    assert len(rows(run)) == 2


def test_figures_of_another_definition_stand_in_another_table(run):
    run.evaluate(100, (replace(accuracy(0.5), version=2),), extractors=CLASSIFIER)
    run.evaluate(200, (accuracy(0.6),), extractors=CLASSIFIER)
    assert len(groups(rows(run))) == 2


def test_a_network_that_changed_makes_another_row_and_figures_join_the_newer_one(run):
    run.evaluate(100, (accuracy(0.5),), extractors={"classifier": "before"})
    run.evaluate(100, (fid(9.0),), extractors=INCEPTION)
    run.evaluate(100, (accuracy(0.6),), extractors={"classifier": "after"})
    before, after = rows(run)
    assert estimates(before) == {"classifier_accuracy": 0.5}
    assert estimates(after) == {"fid": 9.0, "classifier_accuracy": 0.6}
    assert len(groups([before, after])) == 2


def test_rows_of_one_table_may_lack_figures_and_differ_in_weights(run):
    run.evaluate(50, (accuracy(0.5), fid(9.0)), extractors=CLASSIFIER | INCEPTION)
    run.evaluate(100, (accuracy(0.6),), extractors=CLASSIFIER, weights="raw")
    run.evaluate(150, (fid(8.0),), extractors=INCEPTION)
    (table,) = groups(rows(run))
    assert metrics_of(table) == ["fid", "classifier_accuracy"]


def test_a_row_stands_where_most_of_its_networks_are(run):
    run.evaluate(50, (accuracy(0.5),), extractors={"classifier": "before"})
    run.evaluate(100, (accuracy(0.5), fid(9.0)), extractors={"classifier": "after"} | INCEPTION)
    run.evaluate(150, (fid(8.0),), extractors=INCEPTION)
    tables = groups(rows(run))
    assert [[row.passport.epoch for row in table] for table in tables] == [[50], [100, 150]]


@pytest.mark.parametrize(
    "change",
    [{"count": 5_000}, {"reference_digest": "x"}, {"held_out_digest": "x"}, {"extractors": {"a": "x"}}],
)
def test_rows_that_were_measured_otherwise_stand_in_tables_of_their_own(run, change):
    run.evaluate(50, (fid(9.0),), extractors={"a": "y"})
    run.evaluate(100, (fid(8.0),), **({"extractors": {"a": "y"}} | change))
    assert [len(table) for table in groups(rows(run))] == [1, 1]


def test_rows_are_in_the_order_of_checkpoints_then_steps(run):
    for epoch, sampler in (
        (100, "ddim:5"),
        (50, "heun:5"),
        (100, "ddim:100"),
        (100, "ddim:20"),
        (50, "ddim:9"),
    ):
        run.evaluate(epoch, (fid(9.0),), sampler=sampler)
    found = [(row.passport.epoch, row.passport.sampler) for row in rows(run)]
    assert found == [(50, "ddim:9"), (50, "heun:5"), (100, "ddim:5"), (100, "ddim:20"), (100, "ddim:100")]


def with_fid(row: Row, estimate: float, seed: int) -> Row:
    """Return a row with another figure, whose groups scatter by chance and so does its estimate."""
    figure = jackknifed("fid", estimate, 3.0, noise=1.0, own=0.1, seed=seed)
    event = replace(row.event, data=replace(row.event.data, figures=(figure,)))
    return replace(row, events=(event,))


def test_the_best_of_twenty_equal_checkpoints_is_rarely_a_surprise_and_a_better_one_is(run):
    """Compared one by one, some checkpoint would far too often pass for better than that of lowest error."""
    run.train(range(50, 1001, 50))
    for epoch in range(50, 1001, 50):
        run.evaluate(epoch, (fid(9.0),))
    made, draws, repeats = rows(run), random.Random(0), 200
    (lowest,) = (row for row in made if row.mse_rank == 1)
    surprises = one_by_one = 0
    for _ in range(repeats):
        alike = [with_fid(row, draws.gauss(9.0, 0.1 / 10**0.5), draws.getrandbits(40)) for row in made]
        against = next(row for row in alike if row.event.step == lowest.event.step)
        surprises += surprise(alike) is not None
        one_by_one += any(compared(row, against, "fid").verdict == "better" for row in alike)
    assert len(made) == 20
    assert surprises / repeats <= 0.05
    assert one_by_one / repeats > 0.1
    better = next(i for i, row in enumerate(alike) if row.mse_rank != 1)
    alike[better] = with_fid(alike[better], 8.0, 1)
    assert surprise(alike).better is alike[better]


def test_a_metric_of_a_single_row_decides_nothing_unless_it_is_all_there_is(run):
    run.evaluate(50, (fid(9.0), accuracy(0.5)))
    assert headline(rows(run)) == "fid"
    run.evaluate(100, (accuracy(0.6),))
    assert headline(rows(run)) == "classifier_accuracy"
    run.evaluate(150, (fid(8.0),))
    assert headline(rows(run)) == "fid"


def test_across_models_a_metric_of_one_model_alone_decides_nothing(run):
    run.evaluate(50, (fid(9.0), accuracy(0.5)))
    run.evaluate(100, (fid(8.0),))
    other = [replace(row, model="Other") for row in rows(run)]
    run.evaluate(100, (accuracy(0.6),), seed=1)
    (third,) = (replace(row, model="Other") for row in rows(run) if row.passport.seed == 1)
    mine = [row for row in rows(run) if row.passport.seed == 0]
    assert headline([*mine, third], across_models=True) == "classifier_accuracy"
    assert headline([*mine, third]) == "fid"
    assert headline([*mine, *other], across_models=True) == "fid"
