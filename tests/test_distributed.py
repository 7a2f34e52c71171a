"""What one of several processes meets is known to all of them, and keeps none of them waiting."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranks import each_forked

from triptych.distributed import ALONE, _is_lost, _one_line, _take_gpu
from triptych.errors import UserError

SOURCE = Path(__file__).parents[1] / "src"


def processes(count, script, *arguments):
    """Run a script in several processes that find each other, each left to itself; return how each ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    found |= {"LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            env=os.environ | found | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    return [(process.returncode, text) for process, text in zip(started, said, strict=True)]


FAULTS = """
import json, sys
from pathlib import Path
import torch
from triptych.distributed import joined
from triptych.errors import UserError

def fail(error):
    raise error

def met(action):
    try:
        return action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

with joined() as ranks:
    last = ranks.rank == 1
    mistake = UserError("a", "b", "c")
    found = [
        met(lambda: ranks.lead(lambda: ranks.rank)),
        met(lambda: ranks.together(lambda: ranks.rank)),
        met(lambda: ranks.lead(lambda: fail(mistake))),
        met(lambda: ranks.together(lambda: last and fail(mistake))),
        met(lambda: ranks.lead(lambda: fail(KeyError("of the first")))),
        met(lambda: ranks.together(lambda: last and fail(ValueError("of another")))),
        ranks.sum(torch.ones(())).item(),  # and nobody is a word behind
    ]
    Path(sys.argv[1], f"{ranks.rank}.json").write_text(json.dumps(found))
"""


def test_what_one_rank_meets_all_of_them_meet(tmp_path):
    script = tmp_path / "faults.py"
    script.write_text(FAULTS)
    for code, said in each_forked(2, script, tmp_path):
        assert code == 0, said
    first, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == [
        *(0, 0, "UserError: a: b; c", "UserError: a: b; c", "KeyError: 'of the first'"),
        *("LostRank: rank 1 of 2 failed (ValueError: of another)", 2),
    ]
    assert other == [
        *(0, 1, "UserError: a: b; c", "UserError: a: b; c"),
        *("LostRank: rank 0 of 2 failed (KeyError: 'of the first')", "ValueError: of another", 2),
    ]


FAILING = """
from triptych.distributed import joined

with joined() as ranks:
    if ranks.first:
        raise ValueError("of a test")
    ranks.agree(None)
"""


def test_a_rank_that_fails_ends_at_once_and_the_others_notice():
    """Not after the half hour for which they would wait for one that is merely slow."""
    (first, fault), (other, missed) = processes(2, FAILING)
    assert first == other == 1
    assert "ValueError: of a test" in fault
    assert "LostRank: rank 1 of 2 lost touch with another" in missed


def test_alone_nothing_is_turned_into_anything_else():
    def fail():
        raise ValueError("of a test")

    for do in (ALONE.lead, ALONE.together):
        assert do(lambda: 7) == 7
        with pytest.raises(ValueError, match="of a test"):
            do(fail)


@pytest.mark.parametrize(
    ("message", "lost"),
    [
        ("[/build/gloo/transport/tcp/pair.cc:5] Connection closed by peer [127.0.0.1]:1", True),
        ("Connection reset by peer", True),
        ("[2] NCCL communicator was aborted", True),
        ("peer access is not supported between these two devices", False),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_only_a_connection_is_lost(message, lost):
    assert _is_lost(RuntimeError(message)) == lost


def test_a_long_message_is_cut_between_words():
    words = "some words of no importance " * 20
    assert len(_one_line(ValueError(words))) <= 200
    assert words.startswith(_one_line(ValueError(words)).removesuffix(" ...") + " ")
    assert _one_line(ValueError("one\n  line")) == "one line"


@pytest.mark.parametrize(("gpus", "told"), [(1, "it has 1 GPU;"), (3, "it has 3 GPUs;")])
def test_a_gpu_is_not_shared_without_a_word(gpus, told, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UserError, match=f"start 4 processes on a machine: {told}"):
        _take_gpu(0)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(gpus))
    _take_gpu(gpus - 1)
    assert taken == [gpus - 1]
    monkeypatch.delenv("LOCAL_WORLD_SIZE")  # as another launcher may leave it
    with pytest.raises(UserError):
        _take_gpu(gpus)


def test_a_machine_without_gpus_is_not_asked_for_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "64")
    _take_gpu(63)
