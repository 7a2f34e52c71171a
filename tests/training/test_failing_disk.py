"""A disk that fails at any write of a save: told in one line, nothing saved is lost, the run goes on."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from checkpoints.faults import snapshot, watched
from training.tiny import SIZES, figures

from triptych.checkpoints.compare import difference
from triptych.checkpoints.find import FOLDER, RESUMED_FROM, all_checkpoints, newest_valid
from triptych.checkpoints.read import read
from triptych.checkpoints.verify import verify
from triptych.cli import main

SHORT = [
    *("--training.batch-size", "1442", "--training.checkpoint-every", "1", "--training.preview-every", "0"),
    # Without a schedule a run takes the same steps however long it is to be.
    *("--training.learning-rate-schedule", "constant", "--training.warmup-epochs", "0"),
    *("--training.held-out-count", "8", "--training.keep-full", "2", "--training.keep-every", "3"),
]
"""A run with a checkpoint after every step, each of which thins an older one or removes it."""

FIRST = 5
"""Steps before the disk begins to fail: there is something to thin, and something to remove."""


@pytest.fixture(autouse=True)
def without_tensorboard(monkeypatch):
    monkeypatch.setattr("triptych.commands.training_session.tensorboard_installed", lambda: False)
    # Flushes are slow, and what they are for is tested elsewhere: here it is enough to see the calls.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def train(runs: Path, steps: int) -> int:
    """Train until `steps` are taken and return the exit code."""
    own = ["--name", "tiny", "--runs", str(runs), "--quiet", "--training.max-steps", str(steps)]
    return main(["train", "digits-dit", *own, *SIZES["dit"], *SHORT])


@contextmanager
def failing_save(at: int, code: int, *, forever: bool) -> Generator[list[str], None, None]:
    """Fail the call number `at` since the first save began, and all later ones if `forever`.

    Yields the calls until that save was recorded, retention included.
    """
    calls: list[str] = []
    saving = recorded = False
    count = 0

    def before(name: str, args: tuple) -> None:
        nonlocal saving, recorded, count
        saving = saving or (name == "mkdir" and Path(args[0]).name == ".writing")
        if not saving:
            return
        count += 1
        if not recorded:
            calls.append(name)
            recorded = name == "fsync" and os.readlink(f"/proc/self/fd/{args[0]}").endswith("record.jsonl")
        if count == at or (forever and count > at):
            raise OSError(code, os.strerror(code))

    with watched(before):
        yield calls


@pytest.mark.parametrize(
    ("code", "forever"),
    [(errno.ENOSPC, False), (errno.EROFS, True)],
    ids=["ENOSPC once", "EROFS from there on"],
)
def test_every_write_of_a_save(tmp_path, capsys, code, forever):
    runs, root = tmp_path / "runs", tmp_path / "runs" / "tiny" / FOLDER
    assert train(runs, FIRST) == 0
    with failing_save(0, code, forever=False) as calls:
        assert train(runs, FIRST + 1) == 0
    assert len(calls) > 40  # four files, their flushes, the renaming, retention, the record
    refused = 0
    for at in range(1, len(calls) + 1):
        newest, _ = newest_valid(root, RESUMED_FROM)
        assert newest is not None
        before, steps = snapshot(newest), read(newest, []).state["step"]
        capsys.readouterr()
        with failing_save(at, code, forever=forever):
            status = train(runs, steps + 1)
        told = capsys.readouterr().err
        if status == 0:  # it was rubbish that could not be removed, or the disk failed after all was done
            assert told == ""
        else:
            refused += 1
            assert status == 2, (at, told)
            assert told.count("\n") == 1
            assert os.strerror(code) in told
            assert "give the same command" in told
        assert snapshot(newest) == before
        for folder in all_checkpoints(root):
            verify(folder)
    assert refused > 30
    last = steps + 2
    assert train(runs, last) == 0
    assert not (root / ".writing").exists()
    # And as the run left alone.
    assert train(tmp_path / "alone", last) == 0
    alone = tmp_path / "alone" / "tiny" / FOLDER
    assert [path.name for path in all_checkpoints(root)] == [path.name for path in all_checkpoints(alone)]
    for folder in all_checkpoints(root):
        assert difference(read(folder), read(alone / folder.name), {"attempt"}) is None
    assert figures(runs) == figures(tmp_path / "alone")
