"""Models at equal cost: every point is at what it had cost, and only what is comparable is compared."""

import math

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from report.synthetic_run import DIFFUSION, STEPS_PER_EPOCH, RunWriter, fid
from report.test_report import section, write

from triptych.record.events import HeldOut
from triptych.report.budget import draw_races, hours_of, races
from triptych.report.run import Run


def read(*runs):
    return [(run.folder.name, Run.read(run.folder, run.folder.parent)) for run in runs]


@pytest.fixture
def two(tmp_path):
    runs = [
        RunWriter(tmp_path / name, epochs=200, backbone=kind) for name, kind in (("a", "unet"), ("b", "dit"))
    ]
    for run, lowest in zip(runs, (0.03, 0.02), strict=True):
        run.train(range(1, 201), lowest=lowest)
    return runs


def test_points_are_held_out_errors_at_images_seen_and_device_hours(two):
    (race,) = races(read(*two))
    assert (race.title, [course.name for course in race.courses]) == ("held-out MSE", ["a", "b"])
    images, hours, errors = zip(*race.courses[0].points, strict=True)
    assert images == pytest.approx([2.5, 5.0, 7.5, 10.0], rel=1e-3)
    assert hours == pytest.approx([5 * 45 * epoch / 3600 for epoch in (50, 100, 150, 200)])  # on five devices
    assert errors == pytest.approx([0.03 + (3350 - epoch) * 1e-6 for epoch in (50, 100, 150, 200)])


def test_short_courses_are_drawn_in_smaller_units(two, tmp_path):
    short = [RunWriter(tmp_path / name, epochs=4) for name in ("c", "d")]
    for run in short:
        run.train(range(1, 5))
        for epoch in (2, 4):
            run.append(HeldOut(epoch, 0.03 - epoch * 1e-3, True, 1.0), epoch)
    for runs, labels, factors in (
        (two, ["images seen (millions)", "device-hours"], (1, 1)),
        (short, ["images seen (thousands)", "device-minutes"], (1e3, 60)),
    ):
        found = races(read(*runs))
        canvas = Canvas(layout="constrained")
        draw_races(found, canvas)
        assert [axes.get_xlabel() for axes in canvas.axes] == labels
        for place, (axes, factor) in enumerate(zip(canvas.axes, factors, strict=True)):
            points = [factor * point[place] for point in found[0].courses[0].points]
            assert axes.lines[0].get_xdata() == pytest.approx(points)


def test_time_that_was_lost_counts(tmp_path):
    run = RunWriter(tmp_path / "run", epochs=200)
    run.train(range(1, 81))  # killed: the last 30 are taken again
    run.resume(50)
    run.train(range(51, 101))
    ((_, opened),) = read(run)
    hours = hours_of(opened)
    at = {event.step: hours(event) for event in opened.history.of_kind(HeldOut)}
    assert at[round(50 * STEPS_PER_EPOCH)] == pytest.approx(5 * 45 * 50 / 3600)
    assert at[round(100 * STEPS_PER_EPOCH)] == pytest.approx(5 * 45 * (80 + 50) / 3600)


def test_errors_of_unlike_predictions_are_not_set_against_each_other(two, tmp_path, monkeypatch):
    monkeypatch.setitem(DIFFUSION, "prediction", "v")
    other = RunWriter(tmp_path / "c", epochs=200)
    other.train(range(1, 201))
    assert [[course.name for course in race.courses] for race in races(read(*two, other))] == [["a", "b"]]
    assert races(read(two[0], other)) == []


def test_figures_are_those_of_the_best_setting_of_each_checkpoint(two):
    for run, worse in zip(two, (0.0, 1.0), strict=True):
        for epoch, scale, distance in ((100, 1.0, 9.0), (100, 2.0, 8.0), (200, 1.0, 7.0)):
            run.evaluate(epoch, (fid(distance + worse),), guidance=scale)
    run.evaluate(200, (fid(1.0),), count=50_000)  # not comparable with the others
    errors, figures = races(read(*two))
    assert (errors.title, figures.title) == ("held-out MSE", "FID")
    assert [[value for _, _, value in course.points] for course in figures.courses] == [
        [8.0, 7.0],
        [9.0, 8.0],
    ]
    assert [point[:2] for point in figures.courses[0].points] == [
        errors.courses[0].points[i][:2] for i in (1, 3)
    ]


def test_what_is_no_number_or_alone_is_left_out(two, tmp_path):
    single = RunWriter(tmp_path / "single", epochs=200)
    single.train(range(1, 51))
    lost = RunWriter(tmp_path / "lost", epochs=200)
    for epoch in (50, 100):
        lost.append(HeldOut(epoch, math.nan, False, 1.0), epoch)
    (race,) = races(read(*two, single, lost))
    assert [course.name for course in race.courses] == ["a", "b"]
    assert races(read(single)) == races([]) == []


def test_a_model_has_one_colour_in_every_panel(two):
    for run in two:
        for epoch in (100, 200):
            run.evaluate(epoch, (fid(9.0 - epoch / 100),))
    canvas = Canvas(layout="constrained")
    draw_races(races(read(*two)), canvas)
    FigureCanvasAgg(canvas).draw()
    assert [axes.get_title(loc="left") for axes in canvas.axes] == ["held-out MSE"] * 2 + ["FID"] * 2
    colours = {(line.get_label(), line.get_color()) for axes in canvas.axes for line in axes.lines}
    assert len(colours) == 2


def test_the_report_shows_it_once_for_models_of_one_kind(two, tmp_path):
    text = write([run.folder for run in two], tmp_path)
    overview = section(text, "1.1 Overview")
    assert overview.count("EXPERIMENTS-assets/budget-1.png") == text.count("budget-1.png") == 1
    assert "At equal cost, after as many images and after as many device-hours: held-out MSE" in overview
    assert "同等代价下的验证 MSE" in write([run.folder for run in two], tmp_path, "zh")
    assert "budget" not in write([two[0].folder], tmp_path)
