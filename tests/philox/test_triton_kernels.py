"""Triton's kernel draws what the operations draw: compiled on a GPU, interpreted where there is none."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

if find_spec("triton") is None:  # an import, as by pytest.importorskip, would settle how it runs
    pytest.skip("triton comes with torch's CUDA builds", allow_module_level=True)

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def found():
    """Return which cases are the same, and whether the trial is passed.

    Another process finds out: an interpreted triton is one for as long as a process lives.
    """
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(SOURCE), *sys.path]))
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("kernel_cases.py"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_draw_is_the_same(found):
    assert len(found["same"]) > 30
    assert [case for case, same in found["same"].items() if not same] == []


def test_they_pass_the_trial_before_which_they_draw_nothing(found):
    assert found["tried"]
