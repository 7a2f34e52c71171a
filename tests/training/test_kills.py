"""Real SIGKILLs of a real training, at random moments: nothing is lost, and the end has the same bits."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import kill_training
import pytest
import torch
import training_process
from checkpoints.small import make
from training.tiny import train

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.write import write

SCRIPT = Path(kill_training.__file__)


def test_five_kills():
    """Two of them inside the writing of a checkpoint, as counted by what they left behind."""
    command = [sys.executable, str(SCRIPT), "--kills", "5", "--inside", "2", "--epochs", "26"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, row = done.stdout.splitlines()
    kills, inside, _, restarts, resumed, _, equal = (cell.strip() for cell in row.strip("|").split("|"))
    assert int(kills) >= 5 and int(inside) >= 2 and restarts == kills and int(resumed) > 0
    assert equal == "yes"


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "run"
    for epoch in (1, 2):
        write(folder / FOLDER, f"epoch-{epoch:05d}", make(epoch))
    return folder


def leave(run: Path, name: str) -> None:
    (run / FOLDER / ".writing" / f"{name}.77.abcdef00").mkdir(parents=True)


@pytest.mark.parametrize(
    ("left", "inside", "pruning"),
    [
        ([], 0, 0),
        (["epoch-00003"], 1, 0),
        (["epoch-00001"], 0, 1),  # thinned, or
        (["epoch-00000"], 0, 1),  # removed
        (["epoch-00003", "epoch-00001"], 1, 1),
    ],
)
def test_a_kill_counts_as_inside_by_what_it_left(run, left, inside, pruning):
    for name in left:
        leave(run, name)
    tally = kill_training.Tally()
    kill_training.look(run, tally)
    assert (tally.inside, tally.pruning) == (inside, pruning)


def test_a_checkpoint_that_a_kill_tore_is_a_failure(run):
    (run / FOLDER / "epoch-00002" / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(kill_training.Failed, match="is not whole"):
        kill_training.look(run, kill_training.Tally())


def test_a_run_that_is_through_too_early_is_a_failure(tmp_path, monkeypatch):
    """And so is one that ends with an error: no start may end before it is killed."""
    monkeypatch.setattr(training_process, "triptych", lambda command: 3)
    life = kill_training.Life(tmp_path, [], tmp_path / "log")
    assert life.end() == 3
    assert not life.kill()
    monkeypatch.setattr(training_process, "triptych", lambda command: time.sleep(60))
    with kill_training.Life(tmp_path, [], tmp_path / "log") as life:
        assert not life.over()
        assert life.kill()
    with kill_training.Life(tmp_path, [], tmp_path / "log") as life:
        pass
    assert life.over()


def test_whatever_differs_at_the_end_is_told(tmp_path):
    assert train(tmp_path, "--training.max-steps", "6") == 0
    alone = tmp_path / "tiny"

    def killed() -> Path:
        shutil.rmtree(tmp_path / "killed", ignore_errors=True)
        return Path(shutil.copytree(alone, tmp_path / "killed"))

    assert kill_training.compared(alone, killed()) == []
    other = killed()
    contents = kill_training.read(other / FOLDER / "epoch-00002")
    moved = {name: tensor.clone() for name, tensor in contents.tensors["optimizer"].items()}
    first = next(iter(moved))
    moved[first] = torch.nextafter(moved[first], torch.full_like(moved[first], 9))
    write(
        other / FOLDER,
        "epoch-00002",
        Contents(contents.tensors | {"optimizer": moved}, contents.state | {"attempt": 5}),
    )
    (told,) = kill_training.compared(alone, other)
    assert told.startswith(f"epoch-00002: optimizer: {first} differs in ")
    other = killed()
    (other / FOLDER / "epoch-00002").rename(other / FOLDER / "epoch-00009")
    assert kill_training.compared(alone, other)[0].startswith("checkpoints: ")
    other = killed()
    record = other / "record.jsonl"
    record.write_text(record.read_text().replace('"loss": ', '"loss": 1'))
    assert kill_training.compared(alone, other) == ["the figures of their records"]
