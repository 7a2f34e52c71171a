"""Runs of equal time: planned from a trial, and gone on with where they were."""

import json
import shlex

import equal_time
import pytest
import time_plan
from record.test_history import STARTED
from training.tiny import SIZES

from triptych.checkpoints.find import all_checkpoints
from triptych.cli import main
from triptych.errors import UserError
from triptych.experiment import load_experiment
from triptych.record.events import Progress, Sampled
from triptych.record.record import Record
from triptych.runs import Run

SMALL = (*SIZES["dit"], "--training.batch-size", "500", "--training.held-out-count", "16")
ASKED = ("--recipes", "digits-dit", "--minutes", "0.02", "--sampler", "ddim:2", "--guidance", "1", "2")


def plan(rate: float, seconds: float, recipe: str = "cifar10-unet-modern", images: int = 50_000):
    return time_plan.planned(recipe, load_experiment(recipe, []), rate, images, seconds)


def test_the_time_is_filled_with_whole_epochs_of_a_long_run():
    found = plan(rate=6000, seconds=480)
    assert (found.epochs, found.max_steps) == (58, None)  # 57.6
    options = dict(zip(found.options[::2], found.options[1::2], strict=True))
    assert options == {
        "--training.epochs": "58",
        "--training.warmup-epochs": "2.9",
        "--training.checkpoint-every": "14",
        "--training.preview-from": "14",
        "--training.preview-every": "14",
    }
    assert load_experiment(found.recipe, found.options).training.epochs == 58
    assert found.seconds == pytest.approx(58 * 50_000 / 6000)
    assert abs(found.seconds - 480) <= 480 / 2 / time_plan.WHOLE


def test_a_short_run_ends_within_an_epoch():
    found = plan(rate=1000, seconds=60)
    assert (found.epochs, found.max_steps) == (2, round(60_000 / 256))
    assert plan(rate=1, seconds=1).max_steps == 1  # the least that can be trained


def test_a_warm_up_that_fits_stays_as_it_is():
    assert "13.0" in plan(rate=6000, seconds=100_000).options


def trial(folder, *told):
    """Return the folder of a run whose record tells of rates at steps."""
    record = Record(folder / "record.jsonl")
    record.append(STARTED, 0, 0)
    for step, rate in told:
        record.append(Progress(1.0, 0.5, 0.1, 1e-3, rate), step, 0)
    return folder


def test_the_rate_is_that_of_the_later_half_step_by_step(tmp_path):
    found = trial(tmp_path, (20, 1.0), (40, 100.0), (60, 300.0), (64, 50.0))
    assert time_plan.rate_of(found) == pytest.approx(44 / (20 / 100 + 20 / 300 + 4 / 50))


@pytest.mark.parametrize(
    ("taken", "note"),
    [
        (54.1, ""),
        (65.9, ""),
        (66.1, "; it was slower than in the trial"),
        (53.9, "; it was faster than in the trial"),
    ],
)
def test_a_machine_of_another_pace_is_told(taken, note, tmp_path, monkeypatch):
    monkeypatch.setattr(equal_time, "training_seconds", lambda run: taken)
    session = equal_time.Session(tmp_path, None, [])
    (line,) = session.told([time_plan.Planned("digits-dit", 1000.0, 10, None, 60.0, ())])
    assert line == f"digits-dit: {taken:.0f} s of training, 60 s planned{note}"


@pytest.mark.parametrize("told", [[], [(20, 0.0)]])
def test_a_trial_without_a_rate_is_told(told, tmp_path):
    with pytest.raises(UserError, match="it tells no rate"):
        time_plan.rate_of(trial(tmp_path, *told))


@pytest.fixture
def called(monkeypatch):
    """Take down what is called, and call it."""
    lines: list[str] = []

    def call(words: list[str]) -> int:
        lines.append(shlex.join(words))
        return main(words)

    monkeypatch.setattr(equal_time, "triptych", call)
    monkeypatch.setattr(equal_time, "TRIAL", 8)
    return lines


def verbs(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines]


def test_it_goes_from_a_trial_to_what_is_kept(called, tmp_path, capsys):
    folder = tmp_path / "equal"
    rows = ("--count", "70", *ASKED)
    (folder / "kept").mkdir(parents=True)
    (folder / "kept" / "NOTES.md").write_text("mine")
    assert equal_time.main([str(folder), *rows, *SMALL]) == 0
    assert verbs(called) == ["train", "train", "sample", "sample", "evaluate", "export", "report", "report"]
    planned = json.loads((folder / "plan.json").read_text())["runs"][0]
    run = Record.of_run(folder / "runs" / "digits-dit").history()
    assert run.finished
    assert run.started.config["training"]["warmup_epochs"] <= 0.05 * planned["epochs"]
    kept = folder / "kept" / "digits-dit"
    assert Run(kept).model(device="cpu").checkpoint == all_checkpoints(kept / "checkpoints")[-1].name
    drawn = Record.of_run(kept).history().of_kind(Sampled)
    assert [bool(event.data.gif) for event in drawn] == [False, False, True]
    assert all((kept / event.data.grid).is_file() for event in drawn)
    reports = {path.name for path in (folder / "kept").glob("EXPERIMENTS*.md")}
    assert reports == {"EXPERIMENTS.md", "EXPERIMENTS.zh.md"}
    (summary,) = json.loads((folder / "kept" / "equal-time.json").read_text())["runs"]
    taken = sum(attempt.times.training for attempt in run.attempts)
    assert summary == planned | {"taken": taken}
    assert (
        f"digits-dit: {taken:.0f} s of training, {planned['seconds']:.0f} s planned"
        in capsys.readouterr().out
    )

    # What is done is not done again, and what was done with the copy stays.
    (kept / "samples" / "mine.png").write_bytes(b"mine")
    called.clear()
    assert equal_time.main([str(folder), *rows, *SMALL]) == 0
    assert verbs(called) == ["train", "evaluate", "report", "report"]
    assert json.loads((folder / "plan.json").read_text())["runs"] == [planned]
    assert Record.of_run(folder / "runs" / "digits-dit").events() == run.events
    assert (kept / "samples" / "mine.png").exists()

    # A further row makes the copy anew.
    called.clear()
    assert equal_time.main([str(folder), *rows, *SMALL, "--guidance", "1"]) == 0
    assert "export" in verbs(called)
    assert not (kept / "samples" / "mine.png").exists()
    assert (folder / "kept" / "NOTES.md").read_text() == "mine"

    capsys.readouterr()
    assert equal_time.main([str(folder), *rows, *SMALL, "--minutes", "3"]) == 2
    assert f"go on in {folder} with --minutes 3: it was begun with --minutes 0.02" in capsys.readouterr().err


def test_a_stop_between_two_trials_loses_none(called, tmp_path, monkeypatch):
    """Of the first one the checkpoints are gone by then, and its plan has to be there."""
    folder, calls = tmp_path / "equal", iter(range(9))
    honest = equal_time.triptych
    words = [str(folder), "--recipes", "digits-dit", "digits-dit-modern", *ASKED[2:], *SMALL]
    monkeypatch.setattr(equal_time, "triptych", lambda each: 130 if next(calls) == 1 else honest(each))
    assert equal_time.main(words) == 75
    assert verbs(called) == ["train"]
    first = json.loads((folder / "plan.json").read_text())["runs"]
    assert [each["recipe"] for each in first] == ["digits-dit"]
    monkeypatch.setattr(equal_time, "triptych", lambda each: honest(each) or (0 if len(called) < 3 else 130))
    assert equal_time.main(words) == 75
    assert [line.split()[1] for line in called] == ["digits-dit", "digits-dit-modern", "digits-dit"]
    assert json.loads((folder / "plan.json").read_text())["runs"][:1] == first


@pytest.mark.parametrize(("code", "returned"), [(75, 75), (130, 75), (2, 2)])
def test_what_ends_before_its_end_ends_all(code, returned, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(equal_time, "triptych", lambda words: code)
    assert equal_time.main([str(tmp_path / "out"), *ASKED]) == returned
    assert ("the same command goes on from here" in capsys.readouterr().out) == (returned == 75)
    assert not (tmp_path / "out" / "plan.json").exists()


def test_it_stops_after_the_time_that_it_was_given(tmp_path, capsys):
    import torch._dynamo  # noqa: F401 - stopped in the midst of it, the import would spoil this process

    words = [str(tmp_path / "out"), *ASKED, *SMALL, "--training.learning-rate", "1e-5", "--stop-after", "2"]
    assert equal_time.main(words) == 75
    assert "the same command goes on from here" in capsys.readouterr().out


MINUTE = ("out", "--minutes", "1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("out", "--minutes", "0"), "--minutes 0: out of range"),
        ((*MINUTE, "--stop-after", "-1"), "--stop-after -1: out of range"),
        ((*MINUTE, "--count", "0"), "--count 0: out of range"),
        ((*MINUTE, "--guidance", "high"), "--guidance high: no scale"),
        (
            (*MINUTE, "--recipes", "a/x.yaml", "b/x.yaml"),
            "called alike; rename a file",
        ),
        (
            (*MINUTE, "--training.epochs", "4"),
            "--training.epochs: that follows",
        ),
        (
            (*MINUTE, "--training.max_steps=4"),
            "--training.max-steps: that follows",
        ),
        (
            (*MINUTE, "--name", "mine"),
            "--name: that follows from the time, or is said",
        ),
        (("out",), "--minutes"),
        (("--minutes", "1", "out"), "--minutes comes before the folder; give the folder first"),
        ((__file__, "--minutes", "1"), "it is no folder"),
    ],
)
def test_a_mistake_is_told_before_anything_is_done(words, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        equal_time.main(words)
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--recipes", "digits-dit", "digits-dot"), "recipe digits-dot: no packaged recipe of this name"),
        (("--sampler", "dim:50"), "dim"),
        (("--training.learning-rte", "1"), "learning-rte"),
        (("--recipes", "digits-dit", "cifar10-dim"), "some learn classes, and others none"),
        (("--conditional", "False"), "--guidance 1 1.4 2 3: the recipes learn no classes; say --guidance 0"),
    ],
)
def test_what_cannot_be_trained_or_drawn_so_is_told_as_early(words, told, tmp_path, capsys):
    recipes = () if "--recipes" in words else ("--recipes", "digits-dit")
    assert equal_time.main([str(tmp_path / "out"), "--minutes", "1", *recipes, *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_is_of_use(capsys):
    with pytest.raises(SystemExit, match="0"):
        equal_time.main(["--help"])
    told = capsys.readouterr().out
    assert "cifar10-unet-modern cifar10-dit-modern cifar10-dim-modern" in " ".join(told.split())
    assert "exit code 75" in told


def test_without_classes_there_is_no_scale(called, tmp_path):
    words = ("--recipes", "digits-dit", "--minutes", "0.01", "--sampler", "ddim:2", "--guidance", "0")
    assert (
        equal_time.main([str(tmp_path / "out"), *words, "--count", "70", *SMALL, "--conditional", "False"])
        == 0
    )
    assert "--count 64" in next(line for line in called if line.startswith("sample"))
