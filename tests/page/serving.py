"""The page as a process of its own, as a user starts it."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager


@contextmanager
def served(runs, scratch, how=signal.SIGINT, **environment):
    """Serve a folder on a free port, in a process of its own; yield where."""
    command = [sys.executable, "-m", "triptych", "serve", str(runs), "--port", "0", "--device", "cpu"]
    scratch.mkdir(exist_ok=True)
    known = os.environ | {"TMPDIR": str(scratch)} | environment
    process = subprocess.Popen(command, env=known, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line
        yield line.split("/  ")[0]
    finally:
        process.send_signal(how)
        assert process.wait(10) == 0
        process.stdout.close()
