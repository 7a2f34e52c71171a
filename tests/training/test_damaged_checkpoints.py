"""Whatever happened to the newest checkpoint, `triptych train` goes on from the one before, and says so."""

import shutil
from pathlib import Path

import pytest
from checkpoints.damage import DAMAGES, damage
from checkpoints.faults import snapshot
from training.tiny import checkpoint, figures, train

from triptych.checkpoints.compare import difference
from triptych.checkpoints.find import FOLDER, all_checkpoints
from triptych.record.events import Resumed
from triptych.record.record import Record

NAMES = ["epoch-00002", "epoch-00004", "epoch-00006"]


@pytest.fixture
def runs(whole, tmp_path, monkeypatch):
    """A copy of it, to do with as one likes."""
    monkeypatch.setattr("triptych.commands.training_session.tensorboard_installed", lambda: False)
    shutil.copytree(whole / "tiny", tmp_path / "tiny")
    return tmp_path


def resumed(runs: Path) -> Resumed:
    """What the record says of the last resume."""
    return [event.data for event in Record.of_run(runs / "tiny").events() if event.kind == "resumed"][-1]


@pytest.mark.parametrize(("how", "reason"), DAMAGES.items())
def test_the_one_before_is_taken(whole, runs, capsys, how, reason):
    damage(runs / "tiny" / FOLDER / NAMES[2], how)
    capsys.readouterr()
    assert train(runs, "--no-quiet") == 0
    told = capsys.readouterr().err
    assert f"passed over a broken checkpoint, {NAMES[2]}: {reason}" in told
    assert f"resumed at step 12 from {NAMES[1]}" in told
    assert resumed(runs).checkpoint == NAMES[1]
    (skipped,) = resumed(runs).skipped
    assert skipped.startswith(f"{NAMES[2]}: {reason}")
    # And what was lost is made again, bit by bit.
    assert difference(checkpoint(runs, NAMES[2]), checkpoint(whole, NAMES[2]), {"attempt"}) is None
    assert figures(runs) == figures(whole)


def test_several_in_a_row_are_passed_over(whole, runs):
    damage(runs / "tiny" / FOLDER / NAMES[2], "gone")
    damage(runs / "tiny" / FOLDER / NAMES[1], "without manifest")
    assert train(runs) == 0
    assert [line.partition(":")[0] for line in resumed(runs).skipped] == [NAMES[2], NAMES[1]]
    for name in NAMES:
        assert difference(checkpoint(runs, name), checkpoint(whole, name), {"attempt"}) is None


@pytest.mark.parametrize("how", DAMAGES)
def test_where_none_is_whole_nothing_is_touched(runs, capsys, how):
    folder = runs / "tiny"
    for path in all_checkpoints(folder / FOLDER):
        damage(path, how)
    # A save that was cut short may be all that is left: it is not cleared away either.
    (folder / FOLDER / ".writing" / "epoch-00008.77.abcdef00").mkdir(parents=True)
    (folder / FOLDER / ".writing" / "epoch-00008.77.abcdef00" / "ema.safetensors").write_bytes(b"half")
    before = snapshot(folder)
    capsys.readouterr()
    assert train(runs) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"resume {folder}: no checkpoint can be resumed from" in line
    assert f"{NAMES[2]}: {DAMAGES[how]}" in line
    assert "restore one from a copy, or train under another --name" in line
    after = snapshot(folder)
    assert after.pop(".lock") and before.pop(".lock")  # which names whoever tried
    assert after == before
