"""Processes that work together, for tests: as a user starts them, or forked, which is quicker."""

import atexit
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
PATHS = [TESTS, TESTS.parent / "scripts", TESTS.parent / "src"]


def surroundings():
    """Return the environment of such a process."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, PATHS))}


def torchrun(ranks, *command, restarts=0):
    """Start a command by torchrun on this machine, on a free port."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc-per-node={ranks}", f"--max-restarts={restarts}"]
    return subprocess.Popen(
        [*launcher, *map(str, command)],
        env=surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process, seconds=240):
    """Wait for a process; return its exit code and what it said."""
    said, _ = process.communicate(timeout=seconds)
    return process.returncode, said


def forked(ranks, *command):
    """Run a command as so many ranks, to its end; return its exit code and what they said."""
    ended = each_forked(ranks, *command)
    return next((code for code, _ in ended if code), 0), "".join(said for _, said in ended)


def each_forked(ranks, *command):
    """Run a command as so many ranks, each left to itself; return how each ended and what it said."""
    server = _server()
    server.stdin.write(json.dumps({"ranks": ranks, "command": list(map(str, command))}) + "\n")
    server.stdin.flush()
    return [tuple(ended) for ended in json.loads(server.stdout.readline())]


@functools.cache
def _server():
    server = subprocess.Popen(
        [sys.executable, TESTS / "rank_server.py"],
        env=surroundings(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.kill)
    return server
