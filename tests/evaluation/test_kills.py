"""Real SIGKILLs of a real evaluation: its table is that of one left alone."""

import subprocess
import sys
from pathlib import Path

import kill_evaluation
from commands.command_line import say
from training.tiny import train

ASK = ("--checkpoint", "2", "6", "--guidance", "0", "1", "--sampler", "ddim:4", "--batch-size", "16")


def test_two_kills(tmp_path):
    assert train(tmp_path) == 0
    command = [sys.executable, kill_evaluation.__file__, tmp_path / "tiny", "--kills", "2", "--"]
    done = subprocess.run([*command, *ASK, "--count", "160"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, row = done.stdout.splitlines()
    kills, inside, rows, _, _, _, equal = (cell.strip() for cell in row.strip("|").split("|"))
    assert (kills, rows, equal) == ("2", "4", "yes")
    assert int(inside) > 0


def test_what_differs_is_told(tmp_path):
    assert train(tmp_path) == 0
    other = Path(tmp_path / "other")
    command = ["--count", "80", "--sampler", "ddim:2", "--guidance", "1", "--quiet"]
    subprocess.run(["cp", "-r", tmp_path / "tiny", other], check=True)
    for run, seed in ((tmp_path / "tiny", "0"), (other, "1")):
        assert say("evaluate", run, "--seed", seed, *command) == 0
    assert kill_evaluation.compared(tmp_path / "tiny", tmp_path / "tiny") == []
    (line,) = kill_evaluation.compared(tmp_path / "tiny", other)
    assert line.startswith("epoch-00006, ddim:2, scale 1")
    (other / "evaluations" / "left").mkdir(parents=True, exist_ok=True)
    (other / "evaluations" / "left" / "batches.jsonl").write_text("{}")
    assert len(kill_evaluation.compared(other, other)) == 1


def test_batches_that_are_drawn_again_are_told():
    one, two = b'{"batch": 0, "sha256": "a"}', b'{"batch": 1, "sha256": "b"}'
    assert kill_evaluation.drawn_twice({"row": [one]}, {"row": [one, two], "next": [one]}) == []
    assert kill_evaluation.drawn_twice({"row": [one]}, {}) == []
    assert kill_evaluation.drawn_twice({"row": [one]}, {"row": [two]}) == [
        "row: batches that were there are not"
    ]
    assert kill_evaluation.drawn_twice({}, {"row": [one, one]}) == ["row: batches [0, 0] were drawn"]


def test_seconds_of_what_is_printed():
    assert kill_evaluation.seconds("1h 2m 3.4s") == 3723.4
    assert kill_evaluation.seconds("0.043s") == 0.043
