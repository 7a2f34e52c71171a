"""The Triton kernels compute the scan: compiled where there is a GPU, interpreted where there is none."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from backbones.state_space.triton_cases import CASES, NAMES, TRIALS

if find_spec("triton") is None:  # an import, as by pytest.importorskip, would settle how it runs
    pytest.skip("triton comes with torch's CUDA builds", allow_module_level=True)

SOURCE = Path(__file__).parents[3] / "src"
TOLERANCES = {torch.float32: 5e-6, torch.float64: 1e-12, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.fixture(scope="module")
def found():
    """Return what every case differs by, from the recurrence and from the plain scan, and what trials find.

    Another process computes them: an interpreted triton is one for as long as a process lives.
    """
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(SOURCE), *sys.path]))
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("triton_cases.py"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def differences(found):
    return found["cases"]


def test_they_pass_the_trial_before_which_they_compute_nothing(found):
    assert found["trials"] == dict.fromkeys(TRIALS, "")


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_the_recurrence_s_and_those_of_the_plain_scan(differences, name):
    tolerance = TOLERANCES[CASES[name].get("dtype", torch.float32)]
    assert list(differences[name]) == list(NAMES)
    for of, (from_recurrence, from_plain) in differences[name].items():
        assert from_recurrence < tolerance, f"{of} differs from the recurrence's by {from_recurrence:.1e}"
        assert from_plain < tolerance, f"{of} differs from the plain scan's by {from_plain:.1e}"


@pytest.mark.parametrize("name", ["float64", "too wide a head", "too wide a state"])
def test_what_the_kernels_are_not_made_for_is_computed_by_the_plain_scan(differences, name):
    assert all(from_plain == 0 for _, from_plain in differences[name].values())
