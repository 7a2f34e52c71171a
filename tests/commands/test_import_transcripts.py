"""Figures of other programs, written down by hand: runs that are reported, and mistakes told in one line."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import yaml
from commands.command_line import say, the_line
from PIL import Image
from report.test_report import tables

from triptych.record.codec import CodecError
from triptych.record.events import Device, Evaluated, Sampled, Started
from triptych.record.record import Record
from triptych.record.transcript_file import seconds

EXPERIMENT = {
    "name": "older",
    "backbone": "unet",
    "conditional": True,
    "date": "2024-05-06 07:08:09",
    "data": {"name": "cifar10", "image-size": 32, "train-images": 50_000},
    "device": {"name": "A100", "used": 2, "present": 8},
    "training": {"epochs": 100, "batch-size": 100},
    "parts": [{"epochs": 100, "took": "1h 30m"}],
    "samples": [
        {"sampler": "ddim:50", "guidance": 3, "count": 4, "took": "2.5s", "grid": "old pictures/a.png"}
    ],
    "evaluation": {
        "reference": "cifar10/test",
        "reference-count": 10_000,
        "count": 5_000,
        "rows": [{"guidance": 1.5, "figures": {"fid": 12.5}}],
    },
}


def changed(change):
    """Return the experiment with fields changed, `a.b.c` by their path; None takes one out."""
    experiment = json.loads(json.dumps(EXPERIMENT))
    for path, value in change.items():
        *parts, last = path.split("/")
        place = experiment
        for part in parts:
            place = place[int(part) if part.isdecimal() else part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return experiment


def written(tmp_path, *experiments):
    path = tmp_path / "older.yaml"
    path.write_text(yaml.safe_dump({"experiments": list(experiments)}), encoding="utf-8")
    return path


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The folder of runs, from that in which commands are typed."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_an_experiment_becomes_a_run_whose_events_are_those_of_training(tmp_path, runs):
    assert say("import", written(tmp_path, EXPERIMENT), "--quiet") == 0
    history = Record.of_run(runs / "older").history()
    (started,) = history.of_kind(Started)
    assert (started.data.written_in, started.data.total_steps) == ("older.yaml", 50_000)
    assert len(started.data.written_digest) == 64
    (attempt,) = history.attempts
    assert (attempt.seconds, attempt.end, attempt.approximate) == (5400.0, "finished", False)
    (row,) = history.of_kind(Evaluated)
    assert (row.step, row.data.passport.epoch, row.data.figures[0].estimate) == (50_000, 100.0, 12.5)
    assert math.isnan(row.data.generation_took) and row.data.measuring_took is None
    assert history.events[-1].seconds == 1714979289.0


def test_what_nobody_wrote_down_is_nowhere_in_the_report(tmp_path, runs, capsys):
    say("import", written(tmp_path, EXPERIMENT))
    assert capsys.readouterr().out.splitlines()[0] == "runs/older, 1 evaluated row"
    assert say("report", "runs/older", "--quiet") == 0
    text = (tmp_path / "EXPERIMENTS.md").read_text()
    training = tables(text)[1]
    assert [row["Item"] for row in training] == [
        "Run",
        "Training set",
        "Epochs",
        "Hardware",
        "Batch / workers",
        "Total time (training + previews)",
        "Device-hours",
    ]
    assert "?" not in text and "NaN" not in text and "float32" not in text
    assert "Written down by hand in older.yaml (sha256 " in text
    assert "triptych sample" not in text


def test_pictures_are_found_from_the_file_on_and_copied(tmp_path, runs, capsys):
    (tmp_path / "notes" / "old pictures").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "notes" / "old pictures" / "a.png")
    say("import", written(tmp_path / "notes", EXPERIMENT))
    assert capsys.readouterr().out == "runs/older, 1 evaluated row\n"
    shutil.rmtree(tmp_path / "notes")
    (event,) = Record.of_run(runs / "older").history().of_kind(Sampled)
    assert (runs / "older" / event.data.grid).is_file() and ".." not in event.data.grid
    say("report", runs / "older", "--quiet")
    page = (tmp_path / "EXPERIMENTS.html").read_text()
    assert "data:image/png;base64," in page and "There is no picture" not in page


@pytest.mark.parametrize("path", ["none.png", "older.yaml", "../../../../etc/passwd"])
def test_a_picture_that_is_none_is_told(tmp_path, runs, capsys, path):
    assert say("import", written(tmp_path, changed({"samples/0/grid": path}))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"  there is no picture in {path}: mend the path and import the file again"
    assert list((runs / "older" / "pictures").iterdir()) == []


def test_a_scale_that_nobody_wrote_down_is_not_made_up(tmp_path, runs):
    figures = {"evaluation/rows": [{"figures": {"fid": 12.5}}], "samples/0/guidance": None}
    say("import", written(tmp_path, changed(figures)), "--quiet")
    say("report", runs / "older", "--quiet")
    text = (tmp_path / "EXPERIMENTS.md").read_text()
    assert "CFG 0" not in text and "nan" not in text.lower().replace("provenance", "")
    assert tables(text)[-1] == [{"Checkpoint": "epoch 100", "FID ↓": "12.500", "Time": "–"}]


def test_a_mended_file_is_imported_again_and_nothing_else_is_replaced(tmp_path, runs, capsys):
    say("import", written(tmp_path, EXPERIMENT))
    say("import", written(tmp_path, changed({"evaluation/rows/0/figures": {"fid": 11.5}})))
    assert "runs/older, 1 evaluated row, replaced" in capsys.readouterr().out.splitlines()
    (row,) = Record.of_run(runs / "older").history().of_kind(Evaluated)
    assert row.data.figures[0].estimate == 11.5
    (runs / "mine").mkdir()
    (runs / "mine" / "notes.txt").write_text("mine")
    two = written(tmp_path, changed({"date": "2025-01-01"}), changed({"name": "mine"}))
    assert the_line(capsys, "import", two).startswith(
        "triptych: import into runs/mine: something else is there"
    )
    assert Record.of_run(runs / "older").history().events[-1].seconds == 1714979289.0, "all are checked first"
    assert sorted(path.name for path in (runs / "older").iterdir()) == ["pictures", "record.jsonl"]


def test_the_example_of_the_documentation_is_one(tmp_path, runs, capsys):
    page = (Path(__file__).parents[2] / "docs" / "record.md").read_text(encoding="utf-8")
    (tmp_path / "older.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    assert say("import", "older.yaml") == 0
    assert capsys.readouterr().out.startswith("runs/cifar10-dim-cfg, 2 evaluated rows\n")
    assert say("report", "runs/cifar10-dim-cfg", "--quiet") == 0
    text = (tmp_path / "EXPERIMENTS.md").read_text()
    assert "| epoch 3350 | 3 | 15.999 | 8.745 (±0.192) | 0.2380 | 7h 45m 57.8s |" in text
    assert "36h 49m 25.9s (first 2500 epochs) + about 22h (last 1500, resumed)" in text


def test_it_is_told_as_json(tmp_path, runs, capsys):
    assert say("import", written(tmp_path, EXPERIMENT), "--json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {"run": "runs/older", "rows": 1, "replaced": False, "missing": ["old pictures/a.png"]}
    ]


def test_a_run_without_a_model_says_so_to_those_who_ask_for_images(tmp_path, runs, capsys):
    say("import", written(tmp_path, EXPERIMENT), "--quiet")
    for verb in ("sample", "evaluate", "info", "verify"):
        line = the_line(capsys, verb, "runs/older")
        assert line.endswith(
            "run runs/older: it holds figures from older.yaml, and no model; report it beside others"
        )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "../older"}, "experiment ../older: no name for a run's folder; use up to 100 letters"),
        (
            {"date": "yesterday"},
            "experiment older: 'yesterday' is no date; write it like 2025-12-22 10:35:00",
        ),
        ({"device": None}, "experiment older: the field 'device' is missing; mend the file"),
        (
            {"training/epoch": 5},
            "experiment older.training: there is no field epoch; perhaps you meant epochs",
        ),
        ({"training/epochs": "many"}, "experiment older.training.epochs: should be a number, is 'many'"),
        ({"training/epochs": 99}, "experiment older: its parts have 100 epochs, its training 99; mend one"),
        (
            {"training/batch-size": 0},
            "experiment older: its batch-size is 0; give 1 or more",
        ),
        (
            {"parts/0/took": "an hour"},
            "experiment older.parts[0].took: 'an hour' is no duration; write it like",
        ),
        ({"parts/0/took": -1}, "experiment older: parts 0 took is -1; mend it"),
        ({"samples/0/per-class": 2}, "experiment older: samples need one of count and per-class; give one"),
        (
            {"samples/0/sampler": "dddim:50"},
            "sampler dddim: there is none of that name; perhaps you meant ddim",
        ),
        (
            {"evaluation/rows/0/figures": {"fdi": 1}},
            "metric fdi: there is none of that name; perhaps you meant",
        ),
        ({"evaluation/rows/0/figures": {"fid": True}}, "figures.fid: should be an object, is True"),
        (
            {"evaluation/rows/0/figures": {"fid": {"std": 1}}},
            "figures.fid: there is no field std; choose from estimate",
        ),
        ({"evaluation/rows/0/figures": [1]}, "rows[0].figures: should be an object, is [1]; mend the file"),
        ({"digest": "0" * 64}, "there is no field digest"),
        ({"training/learning-rat": 1}, "there is no field learning-rat; perhaps you meant learning-rate"),
        (
            {"evaluation/rows/0/figures": {"FID": 1.0}},
            "metric FID: there is none of that name; perhaps you meant fid",
        ),
        (
            {"evaluation/rows/0/figures": {"fid": "15.9 ± 0.1"}},
            "is no figure; write {estimate: 15.9, spread",
        ),
        (
            {"evaluation/rows/0/figures": {"fid": math.nan}},
            "experiment older: evaluation rows 0 figures fid estimate is nan; mend it",
        ),
        ({"evaluation/rows/0/figures": {"fid": -3}}, "fid -3 is below 0; mend it"),
        (
            {"evaluation/rows/0/figures": {"kid": {"estimate": 1, "spread": -1}}},
            "figures kid spread is -1; mend it",
        ),
        (
            {"evaluation/rows/0/figures": {}},
            "an evaluated row has no figures; give one, or leave the row out",
        ),
        ({"evaluation/rows/0/epoch": 33500}, "epoch 33500 of 100; mend the epoch"),
        ({"evaluation/rows/0/epoch": math.nan}, "evaluation rows 0 epoch is nan; mend it"),
        ({"samples/0/epoch": -50}, "samples 0 epoch is -50; mend it"),
        ({"parts/0/epochs": math.inf}, "parts 0 epochs is inf; mend it"),
        ({"training/epochs": 1e308}, "its parts have 100 epochs, its training 1e+308"),
        ({"seconds-per-epoch": math.inf}, "seconds-per-epoch is inf; mend it"),
        ({"evaluation/rows/0/took": -1}, "evaluation rows 0 took is -1; mend it"),
        ({"evaluation/rows/0/guidance": math.nan}, "evaluation rows 0 guidance is nan; mend it"),
        ({"evaluation/count": -5}, "evaluation count is -5; mend it"),
        ({"parameters": -1}, "parameters is -1; mend it"),
        ({"device/used": 9}, "9 of 8 A100 are used; mend used or present"),
    ],
)
def test_mistakes_in_a_file_are_one_line_and_make_no_run(tmp_path, runs, capsys, change, told):
    line = the_line(capsys, "import", written(tmp_path, EXPERIMENT | {"name": "first"}, changed(change)))
    assert told in line
    assert not runs.exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("experiments: [", "import older.yaml: line 1: "),
        ("- name: older", "import older.yaml: it holds no fields"),
        ("name: older", "import older.yaml: its fields are name; write them as a list under `experiments:`"),
        ("experiments: []", "write them as a list under `experiments:`"),
        ("experiments: [1]", "experiment 1: should be an object, is 1"),
        ("experiments: [&a {name: x, data: [*a]}]", "import older.yaml: "),
        ("experiments: [!!python/object/apply:os.system ['touch harm']]", "import older.yaml: "),
        ("\x00", "import older.yaml: "),
    ],
)
def test_what_is_no_file_of_experiments_is_one_line(tmp_path, runs, capsys, text, told):
    (tmp_path / "older.yaml").write_text(text)
    assert told in the_line(capsys, "import", "older.yaml")
    assert not runs.exists() and not (tmp_path / "harm").exists()


def test_files_that_cannot_be_read_and_options_of_models_are_one_line(tmp_path, runs, capsys):
    assert "import none.yaml: no such file or directory; name a file" in the_line(
        capsys, "import", "none.yaml"
    )
    (tmp_path / "older.yaml").write_bytes(b"\xff\xfe")
    assert "import older.yaml: not a text file" in the_line(capsys, "import", "older.yaml")
    twice = written(tmp_path, EXPERIMENT, EXPERIMENT)
    assert "two experiments are called older; rename one" in the_line(capsys, "import", twice)
    line = the_line(capsys, "import", written(tmp_path, EXPERIMENT), "--heads", "4")
    assert "with --heads: its experiments say that themselves, and hold no model; leave --heads out" in line


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("36.0h 49.0m 25.9s", 132565.9),
        ("1m 17 s", 77.0),
        ("25 s", 25.0),
        ("2h", 7200.0),
        ("1h 5s", 3605.0),
        ("45 sec", 45.0),
        ("36.8 hours", 132480.0),
        ("2 days 3h", 183600.0),
        ("260ms", 0.26),
        ("1h30m", 5400.0),
    ],
)
def test_durations_are_read_in_every_usual_form(text, number):
    assert seconds(text, "took") == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "5", "h", "1s 2h", "1h 1h", "1.2.3s", "-5s", "5 weeks", "5s!"])
def test_what_is_no_duration_is_told(text):
    with pytest.raises(CodecError, match="is no duration"):
        seconds(text, "took")


def test_hardware_of_which_only_the_name_is_known_is_one(tmp_path, runs):
    say("import", written(tmp_path, changed({"device": {"name": "A100"}})), "--quiet")
    assert Record.of_run(runs / "older").history().attempts[0].device == Device("A100", 1, 1)
    say("import", written(tmp_path, changed({"device": {"name": "A100", "used": 4}})), "--quiet")
    assert Record.of_run(runs / "older").history().attempts[0].device == Device("A100", 4, 4)
