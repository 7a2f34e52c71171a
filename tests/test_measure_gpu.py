"""The session on a GPU, tried without one: its parts, of which a failing one keeps no other from its turn."""

import json
from pathlib import Path

import measure_gpu
import pytest
import torch

from benchmarks.cases import CASES
from triptych.commands.bench import BenchOptions

PRINTS = ["-c", "print('a table')"]
FAILS = ["-c", "import sys; print('what it had'); sys.exit('it broke')"]
HERE = ["--device", "cpu"]
HANGS = ["-c", "import time; print('begun', flush=True); time.sleep(60)"]


def test_every_case_of_the_device_is_a_part_and_so_are_the_tests(tmp_path):
    found = measure_gpu.commands(tmp_path)
    named = {words[words.index("--only") + 1] for words in found.values() if "--only" in words}
    assert named == {name for name, case in CASES.items() if case.on_device}
    assert {*measure_gpu.TESTS, "-rs"} < {*found["tests"]}  # a skip is told
    assert all((measure_gpu.ROOT / file).is_file() for file in measure_gpu.TESTS)
    assert all("cuda" in words for name, words in found.items() if name != "tests")


def test_every_comparison_of_the_device_is_in_one_part():
    asked = [[words[0], *words[2:]] for words in measure_gpu.MEASURED.values()]
    for name, case in CASES.items():
        if case.on_device:
            for comparison in case.comparisons(BenchOptions(quick=True)):
                parts = [words for words in asked if words[0] == name]
                met = [words for words in parts if len(words) == 1 or words[1] in comparison.title]
                assert len(met) == 1, comparison.title


def test_parts_are_listed_and_none_is_run(capsys):
    assert measure_gpu.main(["--list"]) == 0
    told = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert told == list(measure_gpu.commands(Path()))


@pytest.mark.parametrize(("words", "limit"), [(FAILS, "900"), (HANGS, "2")])
def test_a_part_that_fails_is_told_and_the_next_has_its_turn(words, limit, tmp_path, capsys, monkeypatch):
    parts = {"first": PRINTS, "broken": words, "last": PRINTS}
    monkeypatch.setattr(measure_gpu, "commands", lambda folder, **options: parts)
    assert measure_gpu.main([str(tmp_path / "out"), "--limit", limit, *HERE]) == 1
    *_, end = told = capsys.readouterr().out.splitlines()
    fault = "broken: failed with exit code 1" if words is FAILS else "broken: ended after 2 s"
    assert len([line for line in told if line.startswith(fault)]) == 1
    assert end.startswith("2 of 3 parts are done, without broken; ")
    text = (tmp_path / "out" / measure_gpu.TEXT).read_text()
    assert text.count("a table\n") == 2
    assert ("it broke" if words is FAILS else "begun") in text
    assert "===== last: done" in text


def test_parts_of_several_calls_are_kept_beside_each_other(tmp_path, capsys, monkeypatch):
    parts = {"first": PRINTS, "last": PRINTS}
    monkeypatch.setattr(measure_gpu, "commands", lambda folder, **options: parts)
    for name in parts:
        assert measure_gpu.main([str(tmp_path), "--only", name, *HERE]) == 0
    text = (tmp_path / measure_gpu.TEXT).read_text()
    assert text.index("===== first: done") < text.index("===== last: done")


def test_figures_of_another_session_do_not_stay_beside_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(measure_gpu, "commands", lambda folder, **options: {"broken": FAILS})
    (tmp_path / "broken.json").write_text("{}")
    assert measure_gpu.main([str(tmp_path), *HERE]) == 1
    assert not (tmp_path / "broken.json").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("out", "--only", "trainings"), "choose from tests, scan, training-unet"),
        (("out", "--limit", "-5"), "--limit -5: no part would be done; choose more than 0"),
        (("out", "--device", "tpu"), "choose from"),
        ((__file__,), "it is no folder"),
        ((), "no folder is named"),
        (("out",), "finds no GPU; --device cpu --quick tries the parts without one"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(words, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        measure_gpu.main(words)
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_part_leaves_its_figures_and_its_table(tmp_path, capsys):
    words = [str(tmp_path), "--only", "training-dit", "--quick", "--device", "cpu"]
    assert measure_gpu.main(words) == 0
    (comparison,) = json.loads((tmp_path / "training-dit.json").read_text())["cases"]["device-training"][
        "comparisons"
    ]
    assert comparison["title"].startswith("dit, ")
    assert "images/s" in (tmp_path / measure_gpu.TEXT).read_text()
