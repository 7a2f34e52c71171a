"""The pictures of an evaluation show what the record holds, and only where there is something to see."""

import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from PIL import Image
from report.synthetic_run import CIFAR10, CLASSES, RunWriter, fid, inception_score, sweep
from report.test_report import section, tables, write

from triptych.record.events import Device
from triptych.record.figures import Figure
from triptych.report.language import Language
from triptych.report.plots import MOST_LABELLED, MOST_LINES, drawings
from triptych.report.rows import rows_of
from triptych.report.run import Run


@pytest.fixture
def run(tmp_path) -> RunWriter:
    return RunWriter(tmp_path / "runs" / "dim", epochs=200)


def drawn(run: RunWriter) -> dict[str, Canvas]:
    """Return all pictures of the run's rows by name."""
    rows = rows_of(Run.read(run.folder, run.folder.parent), "Model")
    canvases = {}
    for drawing in drawings(rows, Language("en")):
        canvases[drawing.name] = Canvas(layout="constrained")
        drawing.draw(canvases[drawing.name])
    return canvases


def lines(axes) -> dict[str, tuple[list[float], list[float]]]:
    """Return the lines with error bars: label -> (x, y)."""
    return {
        bars.get_label(): tuple(np.asarray(part).tolist() for part in bars.lines[0].get_data())
        for bars in axes.containers
    }


def errors(axes) -> list[list[float]]:
    """Return the half lengths of each line's error bars."""
    return [
        [float(np.ptp(segment[:, 1]) / 2) for segment in bars.lines[2][0].get_segments()]
        for bars in axes.containers
    ]


def real(axes) -> list[float]:
    return [float(line.get_ydata()[0]) for line in axes.lines if line.get_label() == "real images"]


def test_figures_stand_against_guidance_scale_with_their_errors_and_what_real_images_score(run):
    for scale, distance, score in ((3.0, 9.0, 9.5), (1.0, 8.0, 9.0), (1.5, 7.0, 9.2)):
        run.evaluate(200, (fid(distance, scale / 10), inception_score(score, 0.1)), guidance=scale)
    left, right = drawn(run)["guidance"].axes
    assert (left.get_title("left"), right.get_title("left")) == ("FID", "IS")
    assert lines(left) == {"generated": ([1.0, 1.5, 3.0], [8.0, 7.0, 9.0])}
    assert lines(right) == {"generated": ([1.0, 1.5, 3.0], [9.0, 9.2, 9.5])}
    assert errors(left) == [pytest.approx([0.1, 0.15, 0.3])]
    assert not right.collections  # no spread, no bars
    assert (real(left), real(right)) == ([3.105], [11.237])


def test_each_checkpoint_and_sampler_is_a_line_called_by_what_tells_it_apart(run):
    for epoch in (100, 200):
        for sampler in ("ddim:50", "heun:25"):
            for scale in (1.0, 1.5):
                run.evaluate(epoch, (fid(9.0 - epoch / 100),), guidance=scale, sampler=sampler)
    run.evaluate(150, (fid(1.0),), guidance=2.0)  # one scale is no line
    (axes,) = drawn(run)["guidance"].axes
    assert list(lines(axes)) == [
        "epoch 200, DDIM 50 steps",
        "epoch 200, Heun 25 steps",
        "epoch 100, DDIM 50 steps",
        "epoch 100, Heun 25 steps",
    ]
    looks = {(bars.lines[0].get_color(), bars.lines[0].get_marker()) for bars in axes.containers}
    assert len(looks) == 4
    assert len({colour for colour, _ in looks}) == 2


def test_ways_to_guide_are_lines_that_share_the_row_without_guidance(run):
    run.evaluate(200, (fid(5.0),), guidance=1.0)
    run.evaluate(200, (fid(7.0),), guidance=0.0)
    for guide, distance in (("cfg", 4.0), ("cfg,below=2", 3.0), ("apg", 3.5)):
        run.evaluate(200, (fid(distance),), guidance=2.0, guide=guide)
    (axes,) = drawn(run)["guidance"].axes
    assert next(iter(lines(axes))) == "cfg"  # the plain way comes first, however good
    assert lines(axes) == {
        "cfg,below=2": ([1.0, 2.0], [5.0, 3.0]),
        "apg": ([1.0, 2.0], [5.0, 3.5]),
        "cfg": ([0.0, 1.0, 2.0], [7.0, 5.0, 4.0]),  # without a class there is nothing else to lead away from
    }
    assert len({(bars.lines[0].get_color(), bars.lines[0].get_marker()) for bars in axes.containers}) == 3


def test_the_model_that_others_are_led_away_from_is_told_by_its_digest(run, tmp_path):
    run.evaluate(200, (fid(5.0),), guidance=1.0)
    led = {"guidance": 2.0, "guide": "cfg,against=epoch-00050", "weak_digest": "d" * 64}
    run.evaluate(200, (fid(4.0),), network_calls=100, **led)
    text = write([run.folder], tmp_path)
    assert f"Weaker model of cfg,against=epoch-00050: sha256 {'d' * 12}" in text
    rows = tables(section(text, "1.2.3 Evaluation"))[0]
    assert [row["Network calls per image"] for row in rows] == ["50", "100", "–"]


def test_an_unconditional_model_that_another_leads_has_a_scale(tmp_path):
    run = RunWriter(tmp_path / "runs" / "free", epochs=200, conditional=False)
    run.evaluate(200, (fid(5.0),), guidance=0.0)
    for scale in (1.5, 2.0):
        run.evaluate(200, (fid(scale),), guidance=scale, guide="cfg,against=epoch-00100", told_class=False)
    (axes,) = drawn(run)["guidance"].axes
    assert lines(axes) == {"generated": ([1.0, 1.5, 2.0], [5.0, 1.5, 2.0])}
    text = write([run.folder], tmp_path)
    assert "CFG 1.5 (cfg,against=epoch-00100)" in text


def test_points_of_many_samplers_have_no_labels_and_far_figures_a_logarithmic_axis(run):
    for i in range(MOST_LABELLED + 1):
        for steps in (10, 20):
            run.evaluate(
                200, (fid(1.0 + 5.0 * (i == 0)),), sampler=f"ddim:{steps},eta=0.{i}", network_calls=steps
            )
        labelled = drawn(run)["cost"].axes[0]
        assert bool(labelled.texts) == (i < MOST_LABELLED), i
    assert labelled.get_yscale() == "log"


def test_lines_that_differ_in_weights_and_seed_say_so(run):
    for weights, seed in (("ema", 0), ("raw", 0), ("ema", 1)):
        for scale in (1.0, 1.5):
            run.evaluate(200, (fid(9.0),), guidance=scale, weights=weights, seed=seed)
    (axes,) = drawn(run)["guidance"].axes
    assert set(lines(axes)) == {"usual average, seed 0", "raw weights, seed 0", "usual average, seed 1"}


def test_of_many_lines_the_best_are_drawn_and_the_caption_says_so(run, tmp_path):
    for epoch in range(1, MOST_LINES + 3):
        for scale in (1.0, 1.5):
            run.evaluate(epoch, (fid(float(epoch)),), guidance=scale)
    (axes,) = drawn(run)["guidance"].axes
    assert list(lines(axes)) == [f"epoch {epoch}" for epoch in range(1, MOST_LINES + 1)]
    told = f"FID against guidance scale (the {MOST_LINES} best of {MOST_LINES + 2} lines)"
    assert told in write([run.folder], tmp_path)


def test_cost_is_drawn_of_rows_that_differ_in_the_sampler_alone(run):
    for sampler, calls, took, distance in (
        ("ddim:50", 100, 50.0, 8.0),
        ("ddim:20", 40, 20.0, 9.0),
        ("heun:25", 100, 60.0, 7.5),
    ):
        run.evaluate(200, (fid(distance),), sampler=sampler, network_calls=calls, took=took, guidance=1.5)
    run.evaluate(200, (fid(12.0),), sampler="heun:5", network_calls=10, guidance=1.0)
    calls, seconds = drawn(run)["cost"].axes
    assert lines(calls) == {"Heun": ([100], [7.5]), "DDIM": ([40, 100], [9.0, 8.0])}
    assert lines(seconds) == {"Heun": ([0.006], [7.5]), "DDIM": ([0.002, 0.005], [9.0, 8.0])}
    assert [text.get_text() for text in calls.texts] == ["25", "20", "50"]
    assert "a guided step counts two" in calls.get_xlabel()
    assert calls.get_xscale() == seconds.get_xscale() == "log"


def test_seconds_of_another_device_are_not_drawn_beside_these(run):
    run.evaluate(200, (fid(8.0),), sampler="ddim:50", took=50.0, guidance=1.0)
    run.evaluate(200, (fid(9.0),), sampler="ddim:20", took=1.0, guidance=1.0, device=Device("H200", 1, 1))
    (calls,) = drawn(run)["cost"].axes
    assert calls.get_xlabel() == "network calls per image"
    run.evaluate(200, (fid(9.5),), sampler="ddim:10", took=10.0, guidance=1.0)
    calls, seconds = drawn(run)["cost"].axes
    assert [len(x) for x, _ in lines(calls).values()] == [3]
    assert lines(seconds) == {"DDIM": ([0.001, 0.005], [9.5, 8.0])}


def test_samplers_of_one_cost_stand_above_it(run):
    """Warnings are errors here: matplotlib gives one where it is left to find the ends of such an axis."""
    for sampler, distance in (("ddim:10", 8.0), ("deis:10", 9.0)):
        run.evaluate(200, (fid(distance),), sampler=sampler, network_calls=10, took=5.0, guidance=1.0)
    for axes, cost in zip(drawn(run)["cost"].axes, (10, 0.0005), strict=True):
        assert lines(axes) == {"DDIM": ([cost], [8.0]), "DEIS": ([cost], [9.0])}
        left, right = axes.get_xlim()
        assert left < cost < right


def test_a_sampler_looks_the_same_in_both_panels_and_like_no_other(run):
    """Also where the second panel lacks one that comes first in the other."""
    names = (
        "heun",
        "ddim",
        "ddpm",
        "euler",
        "dpm++",
        "unipc",
        "ipndm",
        "deis",
        "deis:9,order=2",
        "heun:9,churn=1",
    )
    for i, name in enumerate(names):
        device = Device("H200" if name == "ddim" else "V100", 1, 1)
        sampler = name if ":" in name else f"{name}:9"
        run.evaluate(200, (fid(8.0 + i),), sampler=sampler, network_calls=9 + i, took=9.0 + i, device=device)
    looks = []
    for axes in drawn(run)["cost"].axes:
        handles = {bars.get_label(): bars.lines[0] for bars in axes.containers}
        looks.append({name: (line.get_color(), line.get_marker()) for name, line in handles.items()})
    calls, seconds = looks
    assert len(set(calls.values())) == len(calls) == len(names)
    assert len(seconds) == len(names) - 1
    assert seconds.items() <= calls.items()


def test_a_legend_of_long_names_lies_within_the_picture(run):
    for sampler, distance in (
        ("ddim:10", 8.0),
        ("dpm++:10,order=3,eta=0.5,spacing=karras", 9.0),
        ("ddpm:10", 7.0),
    ):
        for epoch, scale in ((100, 1.0), (100, 2.0), (200, 1.0), (200, 2.0)):
            run.evaluate(epoch, (fid(distance + scale),), sampler=sampler, guidance=scale)
    canvas = drawn(run)["guidance"]
    FigureCanvasAgg(canvas).draw()
    (legend,) = canvas.legends
    box, whole = legend.get_window_extent(), canvas.bbox
    assert whole.x0 <= box.x0 and box.x1 <= whole.x1
    assert whole.y0 <= box.y0 and box.y1 <= whole.y1


def test_classes_stand_as_bars_beside_real_ones(run):
    figures = tuple(c / 10 for c in range(10)), tuple(1 - c / 10 for c in range(10))
    accuracy = Figure("classifier_accuracy", 0.45, 0.01, 0.9, *figures)
    run.evaluate(200, (fid(9.0), accuracy, Figure("diversity_classifier", 3.0, 0.1, None, figures[0])))
    run.evaluate(200, (fid(10.0), Figure("classifier_accuracy", 0.1, 0.01, 0.9, figures[1])), guidance=1.0)
    left, right = drawn(run)["classes"].axes
    heights = [[bar.get_height() for bar in bars] for bars in left.containers]
    assert heights == [list(part) for part in figures]
    assert [label.get_text() for label in left.get_xticklabels()] == list(CLASSES)
    assert [len(bars) for bars in right.containers] == [10]


def test_nothing_is_drawn_where_there_is_nothing_to_see(run):
    run.evaluate(200, (fid(9.0),))
    run.evaluate(100, (fid(9.0),), guidance=1.0)
    run.evaluate(50, (fid(float("nan")),), guidance=1.0)
    assert drawn(run) == {}


def test_figures_that_are_not_finite_are_left_out(run):
    for scale, distance in ((1.0, 9.0), (1.5, float("inf")), (2.0, 8.0), (3.0, float("nan"))):
        run.evaluate(200, (fid(distance),), guidance=scale)
    (axes,) = drawn(run)["guidance"].axes
    assert lines(axes) == {"generated": ([1.0, 2.0], [9.0, 8.0])}


def test_figures_that_span_orders_of_magnitude_stand_on_a_logarithmic_axis(run):
    for scale, distance in ((1.0, 9.0), (1.5, 10.0)):
        run.evaluate(200, (fid(distance),), guidance=scale)
    assert drawn(run)["guidance"].axes[0].get_yscale() == "linear"
    run.evaluate(200, (fid(200.0),), guidance=0.0)
    assert drawn(run)["guidance"].axes[0].get_yscale() == "log"


@pytest.mark.usefixtures("true_pictures")
def test_a_sweep_is_drawn_beside_the_report_the_same_each_time(run, tmp_path):
    sweep(run)
    text = section(write([run.folder], tmp_path / "a"), "Evaluation")
    write([run.folder], tmp_path / "b")
    for name in ("guidance", "cost", "classes"):
        path = f"EXPERIMENTS-assets/dim-{name}.png"
        assert f'src="{path}"' in text
        with Image.open(tmp_path / "a" / path) as picture:
            assert picture.size[0] > 1000
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a" / "EXPERIMENTS-assets").iterdir()) == [
        "dim-classes.png",
        "dim-cost.png",
        "dim-guidance.png",
    ]


@pytest.mark.usefixtures("true_pictures")
def test_classes_whose_names_no_font_writes_are_numbered_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr("report.synthetic_run.CIFAR10", replace(CIFAR10, class_names=("猫", "$x_$", "dog")))
    run = RunWriter(tmp_path / "run", epochs=200)
    run.evaluate(200, (Figure("classifier_accuracy", 0.5, 0.1, None, (0.2, 0.3, 0.4)),))
    (axes,) = drawn(run)["classes"].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["class 0", "$x_$", "dog"]
    write([run.folder], tmp_path)
    assert (tmp_path / "EXPERIMENTS-assets" / "run-classes.png").exists()


@pytest.mark.usefixtures("true_pictures")
def test_without_matplotlib_pictures_are_quietly_absent(run, tmp_path, monkeypatch):
    sweep(run)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = section(write([run.folder], tmp_path), "Evaluation")
    assert "<img" not in text
    assert "matplotlib" not in text


def test_pictures_of_a_second_table_have_names_of_their_own(run, tmp_path):
    for count in (10_000, 5_000):
        for scale in (1.0, 1.5):
            run.evaluate(200, (fid(9.0),), guidance=scale, count=count)
    text = write([run.folder], tmp_path)
    assert [text.count(f"EXPERIMENTS-assets/dim-{name}.png") for name in ("guidance", "guidance-2")] == [1, 1]


@pytest.mark.parametrize(
    ("language", "captions"),
    [
        ("en", ["FID, IS against guidance scale (the 6 best of 12 lines)", "epoch 3350, CFG 1.5"]),
        ("zh", ["FID，IS 随引导尺度的变化（12 条曲线中最佳的 6 条）", "训练 3350 轮，CFG 1.5"]),
    ],
)
def test_captions_are_in_the_language_of_the_report(run, tmp_path, language, captions):
    sweep(run)
    text = write([run.folder], tmp_path, language)
    assert all(f'alt="{part}' in text or f'{part}"' in text for part in captions)


def test_steps_are_written_beside_points_but_never_over_one_another(run):
    for steps in (10, 11, 12, 13, 50):
        for name in (f"ddim:{steps}", f"heun:{steps}", f"unipc:{steps}"):
            run.evaluate(200, (fid(9.0),), sampler=name, network_calls=steps, took=steps, guidance=1.0)
    canvas = drawn(run)["cost"]
    FigureCanvasAgg(canvas).draw()
    for axes in canvas.axes:
        told = [text.get_text() for text in axes.texts]
        assert told.count("50") == 2  # above and below: there is no third place
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
