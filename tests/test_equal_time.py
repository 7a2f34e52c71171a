"""Runs of equal time: planned from a trial, and gone on with where they were."""

import json
import shlex

import equal_time
import pytest
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
    return equal_time.planned(recipe, load_experiment(recipe, []), rate, images, seconds)


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
    assert abs(found.epochs * 50_000 / 6000 - 480) <= 480 / 2 / equal_time.WHOLE


def test_a_short_run_ends_within_an_epoch():
    found = plan(rate=1000, seconds=60)
    assert (found.epochs, found.max_steps) == (2, round(60_000 / 256))
    assert plan(rate=1, seconds=1).max_steps == 1  # the least that can be trained


def test_a_warm_up_that_fits_stays_as_it_is():
    assert "13.0" in plan(rate=6000, seconds=100_000).options


def test_the_rate_is_that_of_the_later_half(tmp_path):
    record = Record(tmp_path / "record.jsonl")
    for step, rate in enumerate((1.0, 2.0, 100.0, 300.0)):
        record.append(Progress(1.0, 0.5, 0.1, 1e-3, rate), step, 0)
    assert equal_time.rate_of(tmp_path) == pytest.approx(150)  # as many images at each


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
    assert {path.name for path in (folder / "kept").glob("EXPERIMENTS*.md")} == {
        "EXPERIMENTS.md",
        "EXPERIMENTS.zh.md",
    }

    before = json.loads((folder / "plan.json").read_text())
    called.clear()
    assert equal_time.main([str(folder), *rows, *SMALL]) == 0
    assert verbs(called) == [
        "train",
        "evaluate",
        "export",
        "report",
        "report",
    ]  # of which the first two find all done
    assert json.loads((folder / "plan.json").read_text()) == before
    assert Record.of_run(folder / "runs" / "digits-dit").events() == run.events  # nothing was done twice

    capsys.readouterr()
    assert equal_time.main([str(folder), *rows, *SMALL, "--seed", "1"]) == 2
    assert "it was begun with recipes ['digits-dit']" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "returned"), [(75, 75), (130, 75), (2, 2)])
def test_what_ends_before_its_end_ends_all(code, returned, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(equal_time, "triptych", lambda words: code)
    assert equal_time.main([str(tmp_path / "out"), *ASKED]) == returned
    assert ("the same command goes on from here" in capsys.readouterr().out) == (returned == 75)
    assert not (tmp_path / "out" / "plan.json").exists()


def test_it_stops_after_the_time_that_it_was_given(tmp_path, capsys):
    words = [str(tmp_path / "out"), *ASKED, *SMALL, "--training.learning-rate", "1e-5", "--stop-after", "2"]
    assert equal_time.main(words) == 75
    assert "the same command goes on from here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--minutes", "0"), "--minutes 0: out of range"),
        (("--minutes", "1", "--stop-after", "-1"), "--stop-after -1: out of range"),
        (("--minutes", "1", "--recipes", "a/x.yaml", "b/x.yaml"), "two runs would be called alike"),
        ((), "--minutes"),
    ],
)
def test_a_mistake_is_told_before_anything_is_done(words, told, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        equal_time.main([str(tmp_path / "out"), *words])
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(tmp_path):
    session = equal_time.Session(tmp_path)
    (tmp_path / "plan.json").write_text('{"asked": {"recipes": ["x"]}, "runs": []}')
    options = type("Options", (), {"recipes": ["digits-dit"], "minutes": 1.0})()
    with pytest.raises(UserError, match=r"it was begun with recipes \['x'\]; name another folder"):
        session.plan(options, [])
