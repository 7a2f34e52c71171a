"""Processes that train together, forked from one that has torch loaded: anew, each would take seconds.

Reads orders, one a line of JSON, and answers each in a line: how its processes ended, and what they said.
"""

import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from importlib import import_module

from forking import forked

PATIENCE = 150.0
"""Seconds after which processes hang, and are killed."""
GRACE = 10.0
"""Seconds that processes have to end after one of them has failed, as a launcher would have it."""
LOADED = (
    *("triptych.commands.train", "triptych.commands.training_session", "triptych.commands.sweep"),
    # What wraps a network for several processes asks for it.
    *("torch.distributed", "torch._dynamo", "torch.utils.tensorboard"),
)


def main() -> None:
    """Serve until there are no more orders."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else is an answer
    for name in LOADED:
        import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        answers.write(json.dumps(together(order["ranks"], order["command"])) + "\n")
        answers.flush()


def together(count: int, command: list[str]) -> list[tuple[int, str]]:
    """Run a command (`-m module ...` or `script ...`) as so many ranks; return how each ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        pids = [
            forked(partial(as_rank, rank, count, port, command), file.fileno())
            for rank, file in enumerate(said)
        ]
        codes: dict[int, int] = {}
        until = time.monotonic() + PATIENCE
        while alive := [pid for pid in pids if pid not in codes]:
            for pid in alive:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    codes[pid] = os.waitstatus_to_exitcode(status)
                elif time.monotonic() > until:
                    os.kill(pid, signal.SIGKILL)
            if any(codes.values()):
                until = min(until, time.monotonic() + GRACE)
            time.sleep(0.01)
        for file in said:
            file.seek(0)
        return [(codes[pid], file.read().decode()) for pid, file in zip(pids, said, strict=True)]


def as_rank(rank: int, count: int, port: int, command: list[str]) -> None:
    """Run the command as one of the ranks."""
    os.environ |= {"TORCHELASTIC_RUN_ID": "of a test"}  # a stop is no failure to torchrun
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
