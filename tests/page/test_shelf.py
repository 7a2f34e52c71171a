"""The shelf: what lies on it, that nothing on it can break the page, and that no path leaves it."""

import json
import math
import os
import re
import shutil
import threading

import pytest
from PIL import Image
from report.synthetic_run import RunWriter

from triptych.checkpoints.lock import lock
from triptych.errors import UserError
from triptych.page import glance
from triptych.page import shelf as module
from triptych.page.fields import list_rows
from triptych.page.shelf import Shelf
from triptych.page.texts import PAGE
from triptych.report.language import Language


def test_a_run_at_a_glance(shelf):
    tiny, log = (shelf.glance(name) for name in ("tiny", "log"))
    assert (tiny.state, tiny.model, tiny.data) == ("finished", "Diffusion Transformer", "Digits")
    assert tiny.epochs == tiny.planned > 0 and math.isfinite(tiny.loss) and math.isfinite(tiny.lowest_mse)
    assert (log.state, log.metric, log.figure) == ("killed", "FID", 7.5)
    assert [one.name for one in shelf.glances()] == ["tiny", "log"]  # the one that changed last first


def test_a_run_in_training_is_told_by_its_lock(shelf):
    with lock(shelf.root / "log"):
        assert shelf.state("log") == "training"
        assert {one.name: one.state for one in shelf.glances()} == {"log": "training", "tiny": "finished"}
    assert shelf.state("log") == "killed"


def test_nothing_is_read_twice_and_everything_that_changes_is_read_again(shelf, runs, monkeypatch):
    shelf.glances()
    reads = []
    monkeypatch.setattr(module, "thinned", lambda path, true=module.thinned: reads.append(path) or true(path))
    shelf.glances()
    shelf.run("log")
    assert Shelf(runs).glances() == shelf.glances()
    assert reads == []
    other = RunWriter(runs / "other", epochs=100)
    assert len(shelf.glances()) == 3
    other.train(range(50, 51))
    (now,) = [one for one in shelf.glances() if one.name == "other"]
    assert now.loss > 0 and len(reads) == 2


def test_a_long_record_is_read_while_the_others_are_shown(shelf, runs, monkeypatch):
    monkeypatch.setattr(module, "LONG", 0)
    go = threading.Event()
    monkeypatch.setattr(module, "thinned", lambda path, true=module.thinned: go.wait(30) and true(path))
    assert [one.state for one in shelf.glances()] == ["reading", "reading"]
    go.set()
    shelf._reader.shutdown(wait=True)
    assert [one.state for one in shelf.glances()] == ["finished", "killed"]


@pytest.mark.parametrize("text", ["", "nonsense\n", '{"kind": "held-out"}\n', "[]\n", "\x00\xff\n"])
def test_a_broken_record_breaks_nothing_but_itself(shelf, runs, text, monkeypatch):
    (runs / "bad").mkdir()
    (runs / "bad" / "record.jsonl").write_text(text)
    for _ in range(2):
        found = {one.name: one for one in shelf.glances()}
        assert (found["bad"].state, found["tiny"].state) == ("broken", "finished")
        assert found["bad"].fault and str(runs) not in found["bad"].fault
    with pytest.raises(UserError):
        shelf.run("bad")
    monkeypatch.setattr(module, "LONG", -1)
    again = Shelf(runs)
    again.glances()
    again._reader.shutdown(wait=True)
    assert {one.state for one in again.glances() if one.name == "bad"} == {"broken"}


def test_a_half_written_checkpoint_is_none(shelf, runs):
    unfinished = runs / "tiny" / "checkpoints" / ".writing" / "epoch-00099.1.abc"
    unfinished.mkdir(parents=True)
    (unfinished / "ema.safetensors").write_bytes(b"half")
    assert not [name for name in shelf.checkpoints("tiny") if "99" in name or "writing" in name]
    assert shelf.checkpoints("tiny")[:2] == ["last", "best-mse"]
    assert shelf.checkpoints("log") == [] and shelf.drawable() == ["tiny"]


ODD = [
    ("steps_per_epoch", "0"),
    ("total_steps", "1" + "0" * 400),
    ("epochs", '"many"'),
    ("seconds", "1e20"),
    ("image_size", "-1"),
]


@pytest.mark.parametrize(("field", "value"), ODD)
def test_figures_that_cannot_be_break_nothing_but_their_run(shelf, runs, field, value):
    odd = RunWriter(runs / "odd", epochs=100)
    odd.train(range(50, 101, 50))
    text = odd.record.path.read_text()
    changed = re.sub(rf'("{field}": )[^,}}]+', rf"\g<1>{value}", text)
    assert changed != text
    odd.record.path.write_text(changed)
    rows = list_rows(shelf.glances(), Language("en", PAGE))
    assert {row[0] for row in rows} == {"odd", "log", "tiny"}


def test_nesting_without_end_breaks_nothing_but_its_run(shelf, runs):
    (runs / "deep").mkdir()
    (runs / "deep" / "record.jsonl").write_text("[" * 100_000 + "\n")
    assert {one.name: one.state for one in shelf.glances()}["deep"] == "broken"


def test_a_long_record_that_was_mended_is_read_again(shelf, runs, monkeypatch):
    monkeypatch.setattr(module, "LONG", -1)
    (runs / "bad").mkdir()
    (runs / "bad" / "record.jsonl").write_text("nonsense\n")

    def state():
        return {one.name: one.state for one in shelf.glances()}["bad"]

    while state() == "reading":
        pass
    assert state() == "broken"
    shutil.copy(runs / "log" / "record.jsonl", runs / "bad" / "record.jsonl")
    while state() == "reading":
        pass
    assert state() == "killed"


def test_what_waits_to_be_read_is_left_when_it_closes(runs, monkeypatch):
    monkeypatch.setattr(module, "LONG", -1)
    shelf, go = Shelf(runs), threading.Event()
    reads = []
    monkeypatch.setattr(shelf, "run", lambda name: reads.append(name) or (go.wait(30) and None))
    shelf.glances()
    shelf.close()
    go.set()
    shelf._reader.shutdown(wait=True)
    assert len(reads) <= 1


def test_runs_that_vanish_are_forgotten(shelf, runs):
    shelf.glances()
    shutil.rmtree(runs / "log")
    assert [one.name for one in shelf.glances()] == ["tiny"]
    assert list(shelf._glances) == ["tiny"] and "log" not in shelf._runs


NO_RUNS = [
    "",
    ".",
    "..",
    "../tiny",
    "tiny/../tiny",
    "none",
    "/etc",
    "tiny\x00",
    "a\nb",
    "\udcff",
    "tiny/checkpoints",
]


@pytest.mark.parametrize("name", NO_RUNS)
def test_what_is_no_name_of_a_run_is_refused(shelf, name):
    for ask in (shelf.folder, shelf.run, shelf.checkpoints, shelf.rows, shelf.stamp):
        with pytest.raises(UserError, match="there is none of this name"):
            ask(name)
    assert shelf.glance(name).state == "broken"


def test_links_that_lead_out_of_the_folder_are_not_followed(shelf, runs, tmp_path, trained):
    shutil.copytree(trained, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", runs / "linked")
    (runs / "record-linked").mkdir()
    os.symlink(tmp_path / "elsewhere" / "record.jsonl", runs / "record-linked" / "record.jsonl")
    os.symlink(runs / "loop", runs / "loop")
    assert shelf.names() == ["log", "tiny"]
    Image.new("L", (2, 2)).save(tmp_path / "secret.png")
    os.symlink(tmp_path / "secret.png", runs / "log" / "secret.png")
    for path in ("log/secret.png", "../secret.png", "log/../../secret.png", str(tmp_path / "secret.png")):
        assert shelf.picture(path) is None


@pytest.mark.parametrize(
    "path", ["log/record.jsonl", "tiny/config.yaml", "none.png", "log", "", "a\x00b", "x" * 5000]
)
def test_what_is_no_picture_is_not_shown(shelf, path):
    assert shelf.picture(path) is None


def test_a_picture_too_large_to_show_is_not(shelf, runs, monkeypatch):
    assert shelf.picture("log/samples/epoch-00100 ddim-50.png") is not None
    monkeypatch.setattr("triptych.record.picture_files.LARGEST", 10)
    assert shelf.picture("log/samples/epoch-00100 ddim-50.png") is None


def test_a_kept_glance_of_another_state_or_kind_is_not_believed(shelf, runs):
    truth = shelf.glance("log")
    place = glance.place_of(runs / "log" / "record.jsonl")
    kept = json.loads(place.read_text())
    for change in (
        {"stamp": [1, 2, 3]},
        {"glance": {"name": 5}},
        {"glance": {"name": "tiny"}},
        {"glance": 3},
    ):
        place.write_text(json.dumps(kept | change))
        assert Shelf(runs).glance("log") == truth
    place.write_text("nonsense")
    assert Shelf(runs).glance("log") == truth


def test_names_are_shown_as_they_are_and_those_with_control_characters_not_at_all(shelf, runs):
    name = "<img src=x onerror=alert(1)> & 数字"
    RunWriter(runs / name, epochs=100)
    RunWriter(runs / "tab\there", epochs=100)
    assert name in shelf.names() and len(shelf.names()) == 3
    assert shelf.glance(name).name == name


def test_looking_writes_nothing_into_the_folder(shelf, runs):
    before = sorted(path for path in runs.rglob("*"))
    shelf.glances()
    for name in shelf.names():
        shelf.run(name), shelf.rows(name), shelf.checkpoints(name)
    assert sorted(path for path in runs.rglob("*")) == before
