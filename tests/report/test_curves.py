"""The curves show what the record holds."""

from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from report.synthetic_run import RunWriter

from triptych.record.events import HeldOut, Progress
from triptych.report.assets import Assets
from triptych.report.curves import draw_curves
from triptych.report.run import Run

pytestmark = pytest.mark.usefixtures("true_pictures")


def draw(writer: RunWriter, folder: Path) -> tuple[Run, Path]:
    run = Run.read(writer.folder, folder)
    path = Assets(folder / "log.md", [run]).draw(run, "curves", partial(draw_curves, run))
    assert path == "log-assets/run-curves.png"
    return run, folder / path


@pytest.fixture
def drawn(monkeypatch):
    """Collect every line that is plotted: label -> (x, y)."""
    from matplotlib.axes import Axes

    lines, plot = {}, Axes.plot

    def spy(self, x, y, *args, label="learning rate", **options):
        lines[label.split(":")[0]] = (list(x), list(y))
        return plot(self, x, y, *args, label=label, **options)

    monkeypatch.setattr(Axes, "plot", spy)
    return lines


def test_curves_hold_the_recorded_figures_and_mark_the_lowest_error(tmp_path, drawn):
    writer = RunWriter(tmp_path / "run")
    writer.train(range(3200, 3501, 50))
    run, path = draw(writer, tmp_path)
    progress = [event.data for event in run.history.of_kind(Progress)]
    held_out = [event.data for event in run.history.of_kind(HeldOut)]
    epochs = list(range(3200, 3501, 50))
    assert drawn["training loss"] == (epochs, [p.loss for p in progress])
    assert drawn["held-out MSE (EMA)"] == (epochs, [h.mse for h in held_out])
    assert drawn["lowest"] == ([3350.0], [0.03])
    assert drawn["learning rate"] == (epochs, [1e-4] * len(epochs))
    with Image.open(path) as picture:
        assert picture.width > 900


def test_the_slower_average_is_a_line_of_its_own(tmp_path, drawn):
    writer = RunWriter(tmp_path / "run")
    errors = {50: (0.5, None), 100: (0.4, 0.45), 150: (0.35, 0.3), 200: (0.32, 0.31)}
    for epoch, (mse, long) in errors.items():
        writer.append(Progress(epoch, 0.5, 1.0, 1e-4, 10.0), epoch)
        writer.append(HeldOut(epoch, mse, True, 1.0, long=long), epoch)
    draw(writer, tmp_path)
    assert drawn["held-out MSE (EMA)"] == ([50, 100, 150, 200], [0.5, 0.4, 0.35, 0.32])
    assert drawn["held-out MSE (slower EMA)"] == ([100, 150, 200], [0.45, 0.3, 0.31])
    assert drawn["lowest"] == ([150], [0.3])


def test_curves_of_a_diverged_run_are_drawn_all_the_same(tmp_path):
    writer = RunWriter(tmp_path / "run")
    writer.append(Progress(1.0, float("nan"), float("inf"), 0.0, 10.0), 1)
    writer.append(HeldOut(1.0, float("nan"), False, 1.0), 1)
    draw(writer, tmp_path)
