"""One writer per run."""

import errno
import fcntl
import json
import os
import signal
import socket
from pathlib import Path

import pytest
from checkpoints.faults import in_child

from triptych.checkpoints.lock import lock
from triptych.errors import UserError


def test_a_second_process_is_told_who_holds_it(tmp_path: Path):
    run = tmp_path / "runs" / "name"

    def second() -> None:
        with pytest.raises(
            UserError, match=f"process {os.getppid()} on {socket.gethostname()}, since 2"
        ) as caught:
            lock(run).__enter__()
        assert "\n" not in str(caught.value)

    with lock(run):
        assert in_child(second) == 0
    assert in_child(lambda: lock(run).__enter__()) == 0


def test_the_same_process_cannot_hold_it_twice(tmp_path: Path):
    with lock(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()} "), lock(tmp_path):
        pass
    with lock(tmp_path), lock(tmp_path / "other"):
        pass


def test_it_dies_with_its_holder(tmp_path: Path):
    ready, report = os.pipe()

    def hold() -> None:
        with lock(tmp_path):
            os.write(report, b"held")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(hold) == -signal.SIGKILL
    assert os.read(ready, 4) == b"held"
    os.close(ready)
    os.close(report)
    assert json.loads((tmp_path / ".lock").read_text())["pid"] != os.getpid()
    with lock(tmp_path):
        holder = json.loads((tmp_path / ".lock").read_text())
        assert holder.keys() == {"pid", "host", "since"}
        assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())


def test_it_is_let_go_after_an_error(tmp_path: Path):
    with pytest.raises(RuntimeError), lock(tmp_path):
        raise RuntimeError
    with lock(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_holder_that_has_not_signed(tmp_path: Path, content: str):
    with lock(tmp_path):
        (tmp_path / ".lock").write_text(content)
        with pytest.raises(UserError, match="another process is writing"), lock(tmp_path):
            pass


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--runs"), lock(tmp_path / "file"):
        pass


def test_a_file_system_without_locks_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.warns(UserWarning, match="no locks on this file system"), lock(tmp_path):
        pass
